"""Drawn person who waves, the source where no camera is plugged in."""

from collections.abc import Sequence
from fractions import Fraction
from math import cos, pi, sin, tau

import cv2
import numpy as np
from numpy.typing import NDArray

from streamcam.sources.pattern import SUBPIXEL_BITS, MovingPattern
from streamcam.types import Image

Colour = tuple[int, int, int]
Point = tuple[float, float]
"""Offset from the image's centre to the right and down, in image heights."""

SKIN, SHADE, BLUSH = (226, 174, 140), (196, 140, 108), (222, 142, 122)
HAIR, BROW, LIPS = (70, 42, 30), (58, 34, 26), (176, 70, 72)
WHITE, IRIS, PUPIL = (248, 246, 242), (62, 110, 120), (18, 18, 22)
JUMPER, FOLD = (222, 160, 48), (184, 122, 30)
WALL_LIGHT, WALL_DARK = (208, 198, 180), (104, 116, 132)
SKY_HIGH, SKY_LOW, FRAME = (96, 156, 214), (222, 232, 236), (238, 234, 226)
SHELF, LEAF, POT = (120, 82, 54), (66, 128, 72), (190, 96, 66)
BOOKS = ((176, 58, 52), (52, 92, 148), (228, 196, 96), (72, 118, 84), (128, 76, 132))

SWAY_S, WAVE_S, BLINK_S, BLINK_LENGTH_S = 5.0, 0.9, 3.4, 0.14
"""Periods of swaying, waving and blinking in seconds, and how long a blink lasts."""


class Demo(MovingPattern):
    """Frames of a person at home before a camera, swaying, blinking and waving."""

    def __init__(self, width: int, height: int, rate: Fraction) -> None:
        super().__init__(width, height, rate)
        self._backdrop = background(width, height)

    def image_at(self, index: int, now: float) -> Image:  # noqa: ARG002
        """Return frame `index`, ``(H, W, 3)`` uint8 RGB."""
        image = self._backdrop.copy()
        seconds = float(index / self.rate)
        pen = _Pen(image)
        sway = sin(tau * seconds / SWAY_S)
        _body(pen, 0.012 * sway)
        _head(pen, (0.03 * sway, -0.1 + 0.006 * cos(2 * tau * seconds / SWAY_S)), seconds)
        _arm(pen, 0.012 * sway, sin(tau * seconds / WAVE_S))
        return image


class _Pen:
    """Draws with smooth edges, at positions between pixels."""

    def __init__(self, image: Image) -> None:
        self._image = image
        height, width = image.shape[:2]
        self._centre = (width / 2, height / 2)
        self._unit: int = height

    def _at(self, point: Point) -> tuple[int, int]:
        x, y = (c + self._unit * p for c, p in zip(self._centre, point, strict=True))
        return round(x * 2**SUBPIXEL_BITS), round(y * 2**SUBPIXEL_BITS)

    def _length(self, share: float) -> int:
        return max(1, round(share * self._unit * (1 << SUBPIXEL_BITS)))

    def ellipse(
        self,
        centre: Point,
        radii: Point,
        colour: Colour,
        *,
        turn: float = 0,
        arc: tuple[float, float] = (0, 360),
        width: float | None = None,
    ) -> None:
        """Fill an ellipse or a part of it between two angles; with `width`, draw its outline."""
        axes = self._length(radii[0]), self._length(radii[1])
        thickness = -1 if width is None else self._pixels(width)
        line = cv2.LINE_AA
        at = self._at(centre)
        cv2.ellipse(self._image, at, axes, turn, *arc, colour, thickness, line, SUBPIXEL_BITS)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        corners = np.array([self._at(point) for point in points], np.int32)
        cv2.fillPoly(self._image, [corners], colour, cv2.LINE_AA, SUBPIXEL_BITS)

    def limb(self, a: Point, b: Point, colour: Colour, width: float) -> None:
        """Draw a thick line with round ends."""
        cv2.line(
            self._image,
            self._at(a),
            self._at(b),
            colour,
            self._pixels(width),
            cv2.LINE_AA,
            SUBPIXEL_BITS,
        )

    def _pixels(self, share: float) -> int:
        return max(1, round(share * self._unit))


def _body(pen: _Pen, x: float) -> None:
    pen.ellipse((x, 0.55), (0.34, 0.34), JUMPER)
    pen.polygon([(x - 0.34, 0.53), (x + 0.34, 0.53), (x + 0.36, 0.7), (x - 0.36, 0.7)], JUMPER)
    pen.polygon([(x - 0.07, 0.0), (x + 0.07, 0.0), (x + 0.09, 0.24), (x - 0.09, 0.24)], SHADE)
    pen.ellipse((x, 0.22), (0.105, 0.05), SHADE)
    pen.ellipse((x, 0.22), (0.115, 0.06), FOLD, width=0.018)
    pen.limb((x - 0.21, 0.4), (x - 0.23, 0.52), FOLD, 0.008)


def _head(pen: _Pen, at: Point, seconds: float) -> None:
    x, y = at
    pen.ellipse((x, y - 0.045), (0.195, 0.235), HAIR)
    for side in (-1, 1):
        pen.ellipse((x + side * 0.165, y + 0.02), (0.03, 0.05), SHADE)
    pen.ellipse((x, y), (0.165, 0.215), SKIN)
    pen.ellipse((x + 0.01, y + 0.15), (0.1, 0.045), SHADE, arc=(0, 180))
    pen.ellipse((x, y + 0.135), (0.11, 0.04), SKIN)
    pen.ellipse((x - 0.015, y - 0.155), (0.165, 0.085), HAIR, turn=-6)
    shut = seconds % BLINK_S > BLINK_S - BLINK_LENGTH_S
    for side in (-1, 1):
        _eye(pen, (x + side * 0.068, y - 0.015), shut=shut)
        pen.ellipse((x + side * 0.105, y + 0.07), (0.03, 0.02), BLUSH)
    pen.limb((x + 0.004, y + 0.01), (x + 0.016, y + 0.055), SHADE, 0.01)
    pen.limb((x + 0.016, y + 0.055), (x - 0.006, y + 0.06), SHADE, 0.008)
    smile = 0.03 + 0.008 * sin(tau * seconds / SWAY_S)
    pen.ellipse((x, y + 0.095), (0.062, smile), LIPS, arc=(0, 180))
    pen.ellipse((x, y + 0.097), (0.05, smile / 2.6), WHITE, arc=(0, 180))


def _eye(pen: _Pen, at: Point, *, shut: bool) -> None:
    x, y = at
    pen.ellipse((x, y - 0.04), (0.036, 0.016), BROW, arc=(200, 340), width=0.012)
    if shut:
        pen.ellipse((x, y - 0.006), (0.03, 0.012), BROW, arc=(20, 160), width=0.007)
        return
    pen.ellipse((x, y), (0.031, 0.019), WHITE)
    pen.ellipse((x, y), (0.0155, 0.0165), IRIS)
    pen.ellipse((x, y), (0.008, 0.008), PUPIL)
    pen.ellipse((x + 0.005, y - 0.005), (0.003, 0.003), WHITE)
    pen.ellipse((x, y), (0.032, 0.02), BROW, arc=(190, 350), width=0.006)


def _arm(pen: _Pen, x: float, wave: float) -> None:
    elbow = (x + 0.37, 0.36)
    pen.limb((x + 0.25, 0.4), elbow, FOLD, 0.135)
    turn = -pi / 2 + 0.12 + 0.22 * wave
    along = (cos(turn), sin(turn))
    wrist = _from(elbow, along, 0.23)
    pen.limb(elbow, wrist, JUMPER, 0.105)
    palm = _from(wrist, along, 0.085)
    pen.limb(wrist, palm, SKIN, 0.07)
    pen.ellipse(_from(palm, along, -0.01), (0.055, 0.046), SKIN, turn=turn * 180 / pi)
    for finger, (spread, length) in enumerate(
        ((-0.3, 0.1), (-0.1, 0.125), (0.1, 0.12), (0.32, 0.1))
    ):
        direction = (cos(turn + spread), sin(turn + spread))
        root = _from(palm, (-along[1], along[0]), 0.022 * (finger - 1.5))
        pen.limb(root, _from(root, direction, length), SKIN, 0.024)
    thumb = (cos(turn - 0.95), sin(turn - 0.95))
    pen.limb(_from(wrist, along, 0.03), _from(_from(wrist, along, 0.03), thumb, 0.11), SKIN, 0.028)
    pen.limb(_from(wrist, along, 0.06), palm, SHADE, 0.006)


def _from(point: Point, direction: Point, length: float) -> Point:
    return point[0] + direction[0] * length, point[1] + direction[1] * length


def background(width: int, height: int) -> Image:
    """Return the background: a wall in the light of a window, a shelf and a plant."""
    y, x = np.mgrid[:height, :width] / height
    x = x - width / height / 2
    light = np.exp(-(((x + 0.5) / 0.7) ** 2) - ((y - 0.3) / 0.8) ** 2)
    image = _between(WALL_DARK, WALL_LIGHT, light)
    pane = (abs(x + 0.52) < 0.16) & (y > 0.08) & (y < 0.52)
    image[pane] = _between(SKY_HIGH, SKY_LOW, (y - 0.08) / 0.44)[pane]
    result = image.astype(np.uint8)
    pen = _Pen(result)
    for a, b in (
        *(((-0.68 + 0.16 * i, -0.42), (-0.68 + 0.16 * i, 0.02)) for i in range(3)),
        *(((-0.68, -0.42 + 0.22 * i), (-0.36, -0.42 + 0.22 * i)) for i in range(3)),
    ):
        pen.limb(a, b, FRAME, 0.018)
    pen.limb((0.27, -0.16), (0.8, -0.16), SHELF, 0.022)
    left = 0.3
    for number in range(7):
        thick, tall = 0.032 + 0.012 * (number % 3), 0.15 + 0.03 * (number * 2 % 3)
        right = left + thick
        corners = [(left, -0.17 - tall), (right, -0.17 - tall), (right, -0.17), (left, -0.17)]
        pen.polygon(corners, BOOKS[number % len(BOOKS)])
        left = right + 0.004
    pen.polygon([(-0.62, 0.3), (-0.46, 0.3), (-0.48, 0.5), (-0.6, 0.5)], POT)
    for angle in (-2.5, -2.1, -1.75, -1.4, -1.0, -0.65):
        tip = (-0.54 + 0.13 * cos(angle), 0.3 + 0.2 * sin(angle))
        middle = ((tip[0] - 0.54) / 2, (tip[1] + 0.3) / 2)
        pen.ellipse(middle, (0.105, 0.024), LEAF, turn=angle * 180 / pi)
    return result


def _between(dark: Colour, light: Colour, share: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = np.array(dark, float), np.array(light, float)
    mixed: NDArray[np.float64] = low + (high - low) * share[..., None].clip(0, 1)
    return mixed
