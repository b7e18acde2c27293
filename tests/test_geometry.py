"""Fill, fit and stretch as numbers, which every resizer agrees on."""

import itertools

import numpy as np
import pytest
import torch

from streamcam import pixels
from streamcam.frames.image_tensors import fitted_lanczos
from streamcam.frames.resize import Resampler
from streamcam.geometry import AxisFit, fit_axes, uniform_scale

SIZES = [(1280, 720), (640, 480), (107, 480), (720, 1280), (33, 17), (1, 1)]


def test_fill_crops_the_longer_axis_about_its_middle() -> None:
    x, y = fit_axes((1280, 720), (512, 512), "fill")
    assert x == AxisFit(1280, 720, 0, 512)
    assert (x.begin, x.end, x.crop_pixels) == (280, 1000, slice(280, 1000))
    assert y == AxisFit(720, 720, 0, 512)


def test_fit_keeps_the_source_whole_and_leaves_bars_on_the_target() -> None:
    x, y = fit_axes((1280, 720), (512, 512), "fit")
    assert x == AxisFit(1280, 1280, 0, 512)
    assert y == AxisFit(720, 720, 112, 288)
    assert y.covered == slice(112, 400)


def test_stretch_takes_each_axis_by_itself() -> None:
    assert fit_axes((1280, 720), (512, 512), "stretch") == (
        AxisFit(1280, 1280, 0, 512),
        AxisFit(720, 720, 0, 512),
    )


def test_a_crop_that_is_not_whole_is_rounded_only_as_pixels() -> None:
    x, _ = fit_axes((100, 30), (16, 9), "fill")
    assert x.crop == pytest.approx(53 + 1 / 3)
    assert x.crop_pixels == slice(23, 76)


def test_a_side_never_vanishes() -> None:
    assert fit_axes((1000, 1), (8, 8), "fit")[1] == AxisFit(1, 1, 3, 1)
    assert fit_axes((1, 1000), (800, 8), "fill")[1].crop_pixels == slice(499, 500)


@pytest.mark.parametrize("mode", ["fill", "fit", "stretch"])
def test_crops_and_covered_pixels_stay_inside(mode: str) -> None:
    for source, target in itertools.product(SIZES, repeat=2):
        for axis, side in zip(fit_axes(source, target, mode), target, strict=True):
            assert 0 <= axis.begin < axis.end <= axis.source
            assert 0 <= axis.first < axis.first + axis.length <= side


def test_the_scale_covers_for_fill_and_fits_for_all_else() -> None:
    assert uniform_scale((100, 50), (200, 200), "fill") == 4
    assert uniform_scale((100, 50), (200, 200), "fit") == 2


@pytest.mark.parametrize("target", [(64, 64), (48, 64)])
@pytest.mark.parametrize("source", [(64, 33), (128, 9), (7, 64), (64, 3), (30, 40)])
def test_bars_are_the_same_whichever_resizer_makes_them(
    source: tuple[int, int], target: tuple[int, int]
) -> None:
    """Bars of an odd number of pixels together must not differ by one either."""
    white = np.full((source[1], source[0], 3), 255, np.uint8)
    planes = torch.full((3, source[1], source[0]), 255.0)
    resampler = Resampler(
        source, target, "fit", planes=3, device=torch.device("cpu"), dtype=torch.float32
    )
    by_matrices = resampler(planes, torch.empty(3, target[1], target[0]))[0].numpy()
    by_pillow = fitted_lanczos(white, *target, "fit")[..., 0]
    by_opencv = pixels.fitted(white, *target, "fit")[..., 0]
    assert np.array_equal(by_matrices > 0, by_pillow > 0)
    assert np.array_equal(by_opencv > 0, by_pillow > 0)


@pytest.mark.parametrize("mode", ["fill", "fit", "stretch"])
@pytest.mark.parametrize("target", [(448, 256), (640, 360), (576, 320)])
def test_a_shape_that_is_nearly_the_same_gets_neither_crop_nor_bars(
    mode: str, target: tuple[int, int]
) -> None:
    for source, size in (((1280, 720), target), (target, (1280, 720))):
        axes = fit_axes(source, size, mode)
        assert axes == tuple(AxisFit(s, s, 0, t) for s, t in zip(source, size, strict=True))
