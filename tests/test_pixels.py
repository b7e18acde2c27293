"""Image operations on the CPU: sizes, rotations, mixes, pixel formats."""

import cv2
import numpy as np
import pytest

from streamcam.pixels import FORMATS, fitted, mixed, oriented
from streamcam.types import Image

TO_RGB = {
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "i420": cv2.COLOR_YUV2RGB_I420,
}


def quarters(width: int = 160, height: int = 90) -> Image:
    """Return an image that is red, green, green and blue from left to right."""
    image = np.zeros((height, width, 3), np.uint8)
    a, b = width // 4, 3 * width // 4
    image[:, :a, 0] = image[:, a:b, 1] = image[:, b:, 2] = 255
    return image


def test_an_image_of_the_right_size_is_not_copied() -> None:
    image = quarters()
    assert fitted(image, 160, 90, "fill") is image


@pytest.mark.parametrize("side", [32, 64, 90, 200])
def test_fill_crops_about_the_centre(side: int) -> None:
    out = fitted(quarters(), side, side, "fill")
    assert out.shape == (side, side, 3)
    assert out[side // 2, side // 2].tolist() == [0, 255, 0]
    assert out[side // 2, 1, 0] > 150
    assert out[side // 2, -2, 2] > 150


@pytest.mark.parametrize("side", [32, 64, 200])
def test_fit_keeps_the_whole_image_between_bars(side: int) -> None:
    out = fitted(quarters(), side, side, "fit")
    assert out.shape == (side, side, 3)
    assert out[1].max() == out[-2].max() == 0
    assert out[side // 2, 2, 0] > 250
    assert out[side // 2, -3, 2] > 250


def test_stretch_keeps_the_whole_image_without_bars() -> None:
    out = fitted(quarters(), 64, 64, "stretch")
    assert out[2, 4].tolist() == [255, 0, 0]
    assert out[-2, -4].tolist() == [0, 0, 255]


def test_one_pixel_can_be_resized() -> None:
    for fit in ("fill", "fit", "stretch"):
        assert fitted(np.full((1, 1, 3), 9, np.uint8), 16, 8, fit).shape == (8, 16, 3)


@pytest.mark.parametrize(
    ("rotate", "mirror", "corner"),
    [
        ("0", False, [255, 0, 0]),
        ("0", True, [0, 0, 255]),
        ("180", False, [0, 0, 255]),
        ("180", True, [255, 0, 0]),
        ("90", False, [255, 0, 0]),
        ("270", False, [0, 0, 255]),
    ],
)
def test_rotation_is_clockwise_and_mirroring_comes_last(
    rotate: str, mirror: bool, corner: list[int]
) -> None:
    out = oriented(quarters(), rotate, mirror=mirror)
    assert out.shape == ((160, 90, 3) if rotate in ("90", "270") else (90, 160, 3))
    assert out[0, 0].tolist() == corner


def test_a_mix_is_the_share_of_one_over_the_other() -> None:
    white, black = np.full((4, 4, 3), 255, np.uint8), np.zeros((4, 4, 3), np.uint8)
    assert mixed(white, black, 0.25)[0, 0].tolist() == [64, 64, 64]


@pytest.mark.parametrize("name", sorted(TO_RGB))
@pytest.mark.parametrize("size", [(16, 16), (64, 36), (10, 6), (1280, 720)])
def test_pixel_formats_read_back_as_the_same_colours(name: str, size: tuple[int, int]) -> None:
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    image[:] = 30, 60, 90
    image[:, width // 2 // 2 * 2 :] = 220, 120, 40
    out = cv2.cvtColor(FORMATS[name](image), TO_RGB[name])
    assert np.abs(out[:, :2].astype(int) - image[:, :2]).max() <= 3
    assert np.abs(out[:, -2:].astype(int) - image[:, -2:]).max() <= 3


@pytest.mark.parametrize(("width", "height"), [(448, 256), (256, 256), (224, 128), (100, 60)])
def test_shrinking_misses_no_pixel(width: int, height: int) -> None:
    stripes = np.zeros((720, 1280, 3), np.uint8)
    stripes[:, ::2] = 200
    shrunk = fitted(stripes, width, height, "fill")
    assert abs(shrunk.astype(int) - 100).max() <= 2
