"""Choice of a camera's pixel format, size and rate."""

from collections.abc import Sequence
from dataclasses import dataclass

from streamcam.v4l2 import Mode

PREFERRED = ("YUYV", "UYVY", "NV12", "YU12", "YV12", "BGR3", "RGB3", "MJPG", "JPEG", "GREY")
"""Formats that OpenCV reads, best first: raw before compressed, which costs time and quality."""


@dataclass(frozen=True, slots=True)
class CameraMode:
    """Settings to request of a camera; an empty fourcc leaves its format as it is."""

    fourcc: str
    width: int
    height: int
    fps: float


def nearest_mode(modes: Sequence[Mode], size: tuple[int, int], fps: float) -> CameraMode:
    """Return the mode nearest to `size` and `fps` that `modes` offer: size first, then rate.

    Raw formats win where they are as fast; over USB 2 they mostly are not, and MJPG is taken.
    """
    readable = [mode for mode in modes if mode.fourcc in PREFERRED]
    if not readable:
        return CameraMode("", *size, fps)
    best = min(readable, key=lambda mode: _cost(mode, size, fps))
    fastest = float(best.rates[0]) if best.rates else fps
    return CameraMode(best.fourcc, *nearest_size(best, size), min(fps, fastest))


def _cost(mode: Mode, size: tuple[int, int], fps: float) -> tuple[float, float, int]:
    width, height = nearest_size(mode, size)
    size_error = abs(width - size[0]) / size[0] + abs(height - size[1]) / size[1]
    # 29.97 is as good as 30; a driver that lists no rates is trusted with the requested one.
    rate = float(mode.rates[0]) if mode.rates else fps
    return size_error, max(0.0, 0.99 * fps - rate), PREFERRED.index(mode.fourcc)


def nearest_size(mode: Mode, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size (width, height) in `mode` that is nearest to `size`."""
    width, height = (
        low + round((min(max(side, low), high) - low) / step) * step
        for side, low, high, step in zip(size, mode.min_size, mode.max_size, mode.step, strict=True)
    )
    return width, height
