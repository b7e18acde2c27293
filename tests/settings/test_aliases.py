"""Other names that people type mean what they expect."""

from pathlib import Path
from typing import Any

import pytest

from streamcam.settings.config_layers import build_config


@pytest.mark.parametrize(
    ("given", "dtype"),
    [("fp16", "float16"), ("BF16", "bfloat16"), ("fp32", "float32"), ("half", "float16")],
)
def test_dtypes_have_short_names(given: str, dtype: str) -> None:
    assert build_config([{"dtype": given}]).dtype == dtype


@pytest.mark.parametrize(
    ("given", "model"),
    [
        ("sd-turbo", "stabilityai/sd-turbo"),
        ("SDXL-Turbo", "stabilityai/sdxl-turbo"),
        ("sd15", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        ("nano", "nano"),
        ("someone/sd15", "someone/sd15"),
    ],
)
def test_models_have_short_names_unless_a_folder_has_it(
    given: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert build_config([{"model": given}]).model == model
    (tmp_path / given).mkdir(parents=True)
    assert build_config([{"model": given}]).model == given


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("0", "camera:0"),
        (1, "camera:1"),
        ("webcam", "camera"),
        ("Webcam:C920", "camera:C920"),
        ("/dev/video0", "camera:/dev/video0"),
        ("camera:2", "camera:2"),
        ("0.mp4", "0.mp4"),
        ("http://cam/0", "http://cam/0"),
    ],
)
def test_cameras_have_other_names(given: Any, source: str) -> None:
    assert build_config([{"source": given}]).broadcast.source == source


@pytest.mark.parametrize(
    ("given", "sink"),
    [
        ("v4l2", "virtual-camera"),
        ("obs", "virtual-camera"),
        ("v4l2:studio", "virtual-camera:studio"),
        ("/dev/video10", "virtual-camera:/dev/video10"),
        ("page", "preview"),
        ("recorder:obs.mkv", "recorder:obs.mkv"),
    ],
)
def test_virtual_cameras_have_other_names(given: str, sink: str) -> None:
    assert build_config([{"sink": [given, "null"]}]).broadcast.sink == (sink, "null")


def test_a_plugin_keeps_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamcam.settings.aliases.plugin_names", lambda _group: ["obs"])
    assert build_config([{"sink": "obs:scene"}]).broadcast.sink == ("obs:scene",)
