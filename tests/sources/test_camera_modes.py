from fractions import Fraction

import pytest

from streamcam.sources.camera_modes import CameraMode, nearest_mode
from streamcam.v4l2 import Mode

# The modes of a usual USB 2 webcam.
WEBCAM = [
    ("MJPG", (640, 480), 30),
    ("MJPG", (1280, 720), 30),
    ("MJPG", (1920, 1080), 30),
    ("YUYV", (640, 480), 30),
    ("YUYV", (1280, 720), 10),
]


def modes(table: list[tuple[str, tuple[int, int], float]]) -> list[Mode]:
    return [
        Mode(fourcc, fourcc == "MJPG", size, size, (1, 1), (Fraction(rate),))
        for fourcc, size, rate in table
    ]


@pytest.mark.parametrize(
    ("size", "fps", "expected"),
    [
        ((640, 480), 30, CameraMode("YUYV", 640, 480, 30)),
        ((1280, 720), 30, CameraMode("MJPG", 1280, 720, 30)),
        ((1280, 720), 10, CameraMode("YUYV", 1280, 720, 10)),
        ((1280, 720), 60, CameraMode("MJPG", 1280, 720, 30)),
        ((1920, 1080), 25, CameraMode("MJPG", 1920, 1080, 25)),
    ],
)
def test_raw_formats_are_chosen_where_they_are_fast_enough(
    size: tuple[int, int], fps: float, expected: CameraMode
) -> None:
    assert nearest_mode(modes(WEBCAM), size, fps) == expected


def test_a_size_that_the_camera_lacks_becomes_the_nearest_one() -> None:
    assert nearest_mode(modes(WEBCAM), (1280, 800), 30) == CameraMode("MJPG", 1280, 720, 30)


def test_a_size_within_a_range_is_rounded_to_its_step() -> None:
    mode = Mode("YUYV", False, (16, 16), (1920, 1080), (2, 2), (Fraction(60),))
    assert nearest_mode([mode], (1281, 720), 30) == CameraMode("YUYV", 1280, 720, 30)
    assert nearest_mode([mode], (4000, 3000), 30) == CameraMode("YUYV", 1920, 1080, 30)


def test_a_rate_a_thousandth_too_low_is_no_reason_for_compression() -> None:
    table = [("MJPG", (640, 480), 30.0), ("YUYV", (640, 480), 29.97)]
    assert nearest_mode(modes(table), (640, 480), 30).fourcc == "YUYV"


def test_formats_that_cannot_be_read_are_not_chosen() -> None:
    assert nearest_mode(modes([("H264", (1280, 720), 60)]), (1280, 720), 30) == CameraMode(
        "", 1280, 720, 30
    )
