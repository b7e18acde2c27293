from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from streamcam.errors import DeviceError
from streamcam.runtime import auto_settings
from streamcam.runtime.auto_settings import PREFERRED_MODEL, settle, settle_model
from streamcam.settings.config_layers import build_config

Equip = Callable[..., None]


@pytest.fixture
def equip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Equip:
    """Return a function that puts SD-Turbo into the cache, and a GPU into the machine, or not."""

    def equip(*, gpu: bool, cached: bool) -> None:
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        kind = "cuda" if gpu else "cpu"
        monkeypatch.setattr(
            auto_settings, "device_kind", lambda device: kind if device == "auto" else device
        )
        if cached:
            name = PREFERRED_MODEL.replace("/", "--")
            (tmp_path / f"models--{name}" / "snapshots" / "0").mkdir(parents=True)

    return equip


@pytest.mark.parametrize(
    ("gpu", "cached", "device", "model"),
    [
        (True, True, "auto", PREFERRED_MODEL),
        (False, True, "auto", "nano"),
        (False, True, "cuda", PREFERRED_MODEL),
        (True, True, "cpu", "nano"),
        (True, False, "auto", "nano"),
        (False, False, "auto", "nano"),
    ],
)
def test_auto_takes_a_large_model_only_on_a_gpu(
    equip: Equip, gpu: bool, cached: bool, device: str, model: str
) -> None:
    equip(gpu=gpu, cached=cached)
    config, _ = settle_model(build_config([{"device": device}]))
    assert config.model == model


def test_the_reason_recommends_a_large_model_only_on_a_gpu(equip: Equip) -> None:
    equip(gpu=False, cached=False)
    assert settle_model(build_config([{}]))[1] == "nano, which comes with streamcam"
    equip(gpu=True, cached=False)
    assert "models pull" in settle_model(build_config([{}]))[1]
    equip(gpu=False, cached=True)
    assert "takes seconds a frame without a GPU" in settle_model(build_config([{}]))[1]


def test_text_to_image_takes_the_large_model_on_any_device(equip: Equip) -> None:
    equip(gpu=False, cached=False)
    assert settle_model(build_config([{"mode": "txt2img"}]))[0].model == PREFERRED_MODEL


@pytest.mark.parametrize("there", [True, False])
def test_the_page_is_served_with_and_without_a_virtual_camera(
    monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    def find() -> SimpleNamespace:
        if not there:
            raise DeviceError("no virtual camera")
        return SimpleNamespace(name="studio")

    monkeypatch.setattr("streamcam.sinks.virtual_camera.find", find)
    settings = {"model": "passthrough", "source": "demo", "sink": ["auto", "preview", "null"]}
    config, lines = settle(build_config([settings]))
    camera = ("virtual-camera:studio",) if there else ()
    assert config.broadcast.sink == (*camera, "preview", "null")
    assert ('virtual camera "studio"' in lines[-1]) is there
    assert ("streamcam doctor" in lines[-1]) is not there


def test_the_first_lines_show_no_password() -> None:
    settings = {
        "model": "passthrough",
        "source": "rtsp://us3r:my s3cret@host/live?token=t0ken",
        "sink": ["null", "rtmp://host/app/k3y"],
    }
    config, lines = settle(build_config([settings]))
    assert config.broadcast.source == settings["source"]
    assert lines[0] == "source: rtsp://host/live"
    assert lines[-1] == "sink: null, rtmp://host/app/***"
