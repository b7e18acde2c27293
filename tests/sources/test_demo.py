"""The drawn person that replaces a missing camera."""

from fractions import Fraction

import numpy as np
import pytest

from streamcam.sources.demo import BLINK_S, IRIS, Demo

RATE = Fraction(30)


def pixels_near(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(image.astype(int) - colour).max(-1) < 12).sum())


@pytest.mark.parametrize(("width", "height"), [(640, 360), (360, 640), (256, 256), (8, 8)])
def test_the_demo_fits_every_canvas(width: int, height: int) -> None:
    assert Demo(width, height, RATE).image_at(0, 0.0).shape == (height, width, 3)


def test_the_demo_moves_and_each_frame_is_always_the_same() -> None:
    demo = Demo(640, 360, RATE)
    first, later = demo.image_at(0, 0.0), demo.image_at(10, 0.0)
    assert not np.array_equal(first, later)
    assert np.array_equal(first, Demo(640, 360, RATE).image_at(0, 5.0))


def test_the_person_blinks() -> None:
    demo = Demo(640, 360, RATE)
    shut = int(BLINK_S * RATE) - 2
    assert pixels_near(demo.image_at(0, 0.0), IRIS) > 50
    assert pixels_near(demo.image_at(shut, 0.0), IRIS) < 10
