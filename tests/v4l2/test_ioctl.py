from fractions import Fraction

import pytest

from streamcam.v4l2 import Mode, ioctl

# From the kernel's own headers on a 64-bit machine.
NUMBERS = {
    "QUERY_CAPABILITY": 0x80685600,
    "ENUMERATE_FORMATS": 0xC0405602,
    "GET_FORMAT": 0xC0D05604,
    "GET_CONTROL": 0xC008561B,
    "SET_CONTROL": 0xC008561C,
    "QUERY_CONTROL": 0xC0445624,
    "ENUMERATE_SIZES": 0xC02C564A,
    "ENUMERATE_RATES": 0xC034564B,
}


@pytest.mark.parametrize(("name", "number"), NUMBERS.items())
@pytest.mark.skipif(ioctl.struct.calcsize("P") != 8, reason="numbers of 64-bit machines")
def test_ioctl_numbers_are_those_of_the_kernel(name: str, number: int) -> None:
    assert getattr(ioctl, name) == number


def test_a_size_fits_a_mode_in_its_range_and_step() -> None:
    one = Mode("YUYV", False, (640, 480), (640, 480), (1, 1), (Fraction(30),))
    assert one.fits(640, 480)
    assert not one.fits(640, 360)
    span = Mode("YUYV", False, (16, 16), (1920, 1080), (8, 2), ())
    assert span.fits(1280, 720)
    assert not span.fits(1284, 720)
    assert not span.fits(8, 16)
