"""The model's size by the shape of the source: nothing is cut, and there are no bars."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from streamcam.geometry import fit_axes
from streamcam.runtime.auto_settings import settle
from streamcam.runtime.model_size import size_of_shape, sizes_on_air
from streamcam.settings.config_layers import build_config

NANO = {"model": "nano", "source": "pattern", "sink": "null"}


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1280, 720), (448, 256)),
        ((1920, 1080), (448, 256)),
        ((640, 480), (336, 256)),
        ((720, 1280), (256, 448)),
        ((500, 500), (256, 256)),
        ((1280, 800), (416, 256)),
    ],
)
def test_the_shorter_side_stays_and_the_longer_one_follows_the_shape(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    assert size_of_shape(shape, 256) == size
    assert [(a.begin, a.length) for a in fit_axes(shape, size, "fill")] == [
        (0, size[0]),
        (0, size[1]),
    ]


def test_a_very_long_image_is_cut_rather_than_computed_whole() -> None:
    assert size_of_shape((4000, 200), 256) == (640, 256)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, (448, 256)),
        ({"canvas": "640x480"}, (336, 256)),
        ({"source": "camera", "camera_size": "640x480"}, (336, 256)),
        ({"source": "camera", "camera_size": "640x480", "canvas_fit": "fill"}, (448, 256)),
        ({"rotate": "90"}, (256, 448)),
        ({"source": "missing.mp4"}, (448, 256)),
        ({"width": 320}, (320, 256)),
        ({"width": 320, "shape": "camera"}, (448, 256)),
        ({"shape": "fixed"}, (256, 256)),
        ({"model": "random:sd15"}, (512, 512)),
        ({"model": "random:sd15", "shape": "camera"}, (896, 512)),
    ],
)
def test_on_air_a_model_takes_the_shape_it_asks_for_unless_a_size_was_given(
    settings: dict[str, object], size: tuple[int, int]
) -> None:
    config, _ = settle(build_config([NANO | settings]))
    assert (config.width, config.height) == size


def test_a_file_has_the_shape_of_its_first_frame_and_the_log_says_so(tmp_path: Path) -> None:
    photo = tmp_path / "portrait.png"
    cv2.imwrite(str(photo), np.zeros((128, 72, 3), np.uint8))
    config, lines = settle(build_config([NANO | {"source": str(photo)}]))
    assert (config.width, config.height) == (256, 448)
    assert lines[1] == "model: nano, 256x448 for the shape of 72x128"


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({}, [(448, 256), (576, 320), (672, 384), (800, 448), (896, 512)]),
        ({"canvas": "640x480"}, [(336, 256), (432, 320), (512, 384), (608, 448), (672, 512)]),
        ({"grow_to": 383}, [(448, 256), (576, 320)]),
        ({"grow_to": 0}, [(448, 256)]),
        ({"width": 448}, [(448, 256)]),
        ({"height": 256, "grow_to": 320}, [(256, 256), (320, 320)]),
        ({"mode": "txt2img"}, [(256, 256)]),
        ({"model": "random:sd15"}, [(512, 512)]),
        ({"model": "random:sd15", "grow_to": 640}, [(512, 512), (576, 576), (640, 640)]),
        ({"pipeline": "video", "model": "random:wan", "grow_to": 640}, [(512, 512)]),
    ],
)
def test_on_air_nano_may_grow_in_its_shape_and_another_model_if_it_is_told_to(
    settings: dict[str, object], sizes: list[tuple[int, int]]
) -> None:
    config, _ = settle(build_config([NANO | settings]))
    assert sizes_on_air(config) == sizes


def test_without_a_broadcast_a_model_keeps_its_own_size() -> None:
    config = build_config([{"model": "nano"}])
    assert (config.width, config.height) == (256, 256)
