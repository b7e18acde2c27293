"""Live test pattern that moves and carries each frame's index and time in its pixels."""

import time
from collections.abc import Iterator
from fractions import Fraction
from math import cos, pi, sin, tau
from threading import Event
from typing import Self

import cv2
import numpy as np

from streamcam.sources import frame_code
from streamcam.sources.generated import SECONDS_PER_TURN, backdrop
from streamcam.types import Frame, Image

BALL, EDGE = (250, 240, 225), (20, 20, 20)
SUBPIXEL_BITS = 3
"""Fractional bits of the coordinates that OpenCV draws at."""


class MovingPattern:
    """A ball circling before a grid and colour bars, at `rate` for ever.

    Every frame carries its index and time as a `frame_code`, where one fits. A frame whose time
    is over is never drawn.
    """

    length: int | None = None

    def __init__(self, width: int, height: int, rate: Fraction) -> None:
        self.rate = rate
        self._backdrop = np.array(backdrop(width, height))
        self._stopped = Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def stop(self) -> None:
        """End the iteration at once, for good; callable from any thread."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Frame]:
        began, index = time.monotonic(), 0
        while not self._stopped.wait(max(0.0, began + float(index / self.rate) - time.monotonic())):
            now = time.monotonic()
            yield Frame(self.image_at(index, now), index, now)
            index = max(index + 1, int((time.monotonic() - began) * self.rate))

    def image_at(self, index: int, now: float) -> Image:
        """Return frame `index`, ``(H, W, 3)`` uint8 RGB, drawn at monotonic second `now`."""
        image = self._backdrop.copy()
        height, width = image.shape[:2]
        side = min(width, height)
        angle = tau * float(index / self.rate) / SECONDS_PER_TURN - pi / 2
        # Within the central square, since a model may see no more than that.
        centre = (width / 2 + side * 0.37 * cos(angle), height / 2 + side * 0.35 * sin(angle))
        at = (round(centre[0] * 2**SUBPIXEL_BITS), round(centre[1] * 2**SUBPIXEL_BITS))
        radius = round(side * 0.12)
        for colour, r in ((EDGE, radius), (BALL, radius - max(1, side // 240))):
            cv2.circle(image, at, r * 2**SUBPIXEL_BITS, colour, -1, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.putText(
            image,
            f"{index:06d}",
            (width // 2 - side * 45 // 100, height // 2 - side * 40 // 100),
            cv2.FONT_HERSHEY_SIMPLEX,
            side / 500,
            BALL,
            max(1, side // 240),
            cv2.LINE_AA,
        )
        if side >= frame_code.MIN_SIDE:
            frame_code.stamp(image, index, now)
        return image
