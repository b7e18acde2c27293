"""What the engine process would fail on is refused before anything is on air."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import streamcam
from streamcam.engines import requirements
from streamcam.errors import StreamcamError
from streamcam.runtime import device_presence, startup_check
from streamcam.runtime.startup_check import check_startup
from streamcam.settings.config_layers import build_config


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.safetensors").touch()
    (tmp_path / "b.ckpt").touch()
    return tmp_path / "hub"


WAN = "random:tiny-wan"


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"model": "nanoo"}, 'no model "nanoo": .*; did you mean "nano"\\?'),
        ({"model": "sd-trubo"}, 'no model "sd-trubo": .*; did you mean "sd-turbo"\\?'),
        ({"model": "x.safetensors"}, 'no model "x.safetensors": .*; nano comes with streamcam'),
        ({"model": "b.ckpt"}, "b.ckpt is pickled"),
        ({"model": "folder"}, "folder is not in diffusers layout"),
        ({"model": "a/b", "offline": True}, 'no model a/b: .*"streamcam models pull a/b"'),
        ({"model": "nano", "vae": "x"}, 'no model "x"'),
        ({"model": "nano", "vae": "a/b", "offline": True}, "no model a/b: .*offline"),
        ({"model": "nano", "lora": ["x.safetensors:0.5"]}, 'no model "x.safetensors"'),
        ({"model": "nano", "lora": ["folder"]}, "folder holds 0 .safetensors files"),
        ({"model": "nano", "lora": ["a/b/c.safetensors"], "offline": True}, "no model a/b: "),
        ({"model": "nano", "embedding": ["x.safetensors:x"]}, 'no model "x.safetensors"'),
        ({"model": "nano", "embedding": ["folder"]}, "folder holds 0 .safetensors files"),
        ({"model": "nano", "embedding": ["a/b"], "offline": True}, "no model a/b: "),
        ({"model": "x", "pipeline": "video"}, 'no model "x": no file or folder here'),
        ({"model": "a/b/c", "pipeline": "video", "offline": True}, "no model a/b: .*offline"),
        ({"model": WAN, "pipeline": "video", "lora": ["x.pt:0.5"]}, 'no LoRA "x.pt": no file'),
        ({"model": WAN, "pipeline": "video", "lora": ["x"]}, 'no model "x": no file or folder'),
        (
            {"model": WAN, "pipeline": "video", "lora": ["a/b/c/d.pt"], "offline": True},
            "no model a/b: .*offline",
        ),
    ],
)
def test_a_model_that_is_surely_missing_is_refused(
    settings: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(StreamcamError, match=complaint) as refusal:
        check_startup(build_config([{"offline": False}, settings]))
    assert refusal.value.exit_code == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "nano", "vae": "full", "lora": ["a.safetensors:0.5"]},
        {"model": "a.safetensors"},
        {"model": "random:tiny-sd-turbo"},
        {"model": "a/b", "vae": "c/d", "lora": ["e/f", "g/h/i.safetensors:1"]},
        {"model": "a/b/c", "pipeline": "video"},
        {"model": WAN, "pipeline": "video", "lora": ["b.ckpt", "a/b/c/d.pt:0.5", "a/b"]},
        {"model": "passthrough", "vae": "x"},
        {"model": "identity", "device": "cuda:7"},
    ],
)
def test_what_the_hub_may_have_is_left_to_loading(settings: dict[str, Any]) -> None:
    check_startup(build_config([{"offline": False}, settings]))


def test_a_cached_model_is_enough_offline(empty_cache: Path) -> None:
    (empty_cache / "models--a--b" / "snapshots").mkdir(parents=True)
    check_startup(build_config([{"model": "a/b", "offline": True}]))


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(startup_check, "is_certain", lambda _device: False)
    monkeypatch.setattr(startup_check, "is_supported", lambda _device: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(streamcam.ConfigError, match=r"no device cuda:7 here; found: .*cpu"):
        check_startup(build_config([{"model": "nano", "device": "cuda:7"}]))


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "xpu", "mps"])
def test_a_device_that_torch_is_not_built_for_is_refused_without_torch(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_presence, "torch_backends", frozenset)
    monkeypatch.setattr(device_presence, "_is_apple_silicon", lambda: False)
    with pytest.raises(streamcam.ConfigError, match=f"no device {device} here: the installed"):
        check_startup(build_config([{"model": "nano", "device": device}]))


@pytest.mark.parametrize("acceleration", ["graph", "tensorrt"])
def test_what_is_for_nvidias_gpus_is_refused_on_amds(
    acceleration: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup_check, "torch_backends", lambda: frozenset({"hip"}))
    monkeypatch.setattr(startup_check, "is_certain", lambda _: True)
    config = build_config([{"model": "nano", "device": "cuda", "acceleration": acceleration}])
    with pytest.raises(streamcam.EngineError, match=r"NVIDIA GPUs, not (on )?rocm"):
        check_startup(config)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"acceleration": "openvino"}, "openvino is not installed; run pip install"),
        ({"acceleration": "graph"}, "for NVIDIA GPUs, not cpu; choose --acceleration eager"),
        ({"acceleration": "tensorrt"}, "tensorrt runs on NVIDIA GPUs, not on cpu"),
        ({"acceleration": "compiled"}, r"compiled needs a C\+\+ compiler"),
        ({"dtype": "float8"}, "runs on NVIDIA GPUs, not on cpu"),
        ({"dtype": "float8", "acceleration": "eager"}, "eager does not compute in float8"),
    ],
)
def test_an_engine_that_cannot_run_here_is_refused(
    settings: dict[str, str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requirements, "find_spec", lambda _: None)
    monkeypatch.setattr(requirements.shutil, "which", lambda _: None)
    with pytest.raises(streamcam.EngineError, match=complaint):
        check_startup(build_config([{"model": "nano", "device": "cpu"}, settings]))


def test_a_broadcast_is_refused_before_it_opens_anything(tmp_path: Path) -> None:
    recording = tmp_path / "show.mkv"
    with pytest.raises(streamcam.ModelError, match='did you mean "nano"'):
        streamcam.Broadcast(model="nanoo", source="pattern", sink=[f"recorder:{recording}"])
    assert not list(tmp_path.glob("show*"))
