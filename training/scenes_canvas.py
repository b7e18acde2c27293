"""Draw soft polygons and light on an image, in coordinates that are shares of its side."""

import colorsys
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

# float32, and uint8 below; the stubs of numpy and OpenCV do not follow them through arithmetic.
Array: TypeAlias = NDArray[Any]
Image: TypeAlias = NDArray[Any]
Points: TypeAlias = Array | Sequence[tuple[float, float]]
# A colour (3,) in 0..255, or a function of x, y (h, w) that returns colours (h, w, 3).
Paint: TypeAlias = Array | Callable[[Array, Array], Array]

SHIFT = 4
BLACK = np.zeros(3, np.float32)


class Canvas:
    """Square image to draw on; `x` and `y` are each pixel's coordinates in 0..1, y downwards."""

    def __init__(self, size: int, colour: Array = BLACK) -> None:
        self.size = size
        self.pixels: Image = np.empty((size, size, 3), np.uint8)
        self.pixels[:] = np.clip(colour, 0, 255).astype(np.uint8)
        centres = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x: Array = np.broadcast_to(centres[None], (size, size))
        self.y: Array = np.broadcast_to(centres[:, None], (size, size))
        self.focus: Image = np.zeros((size, size), np.uint8)
        """Where errors count most, 0..255: eyes and mouths."""

    def copy(self) -> "Canvas":
        """Return a copy of the canvas and its image."""
        copy = Canvas(self.size)
        copy.pixels[:] = self.pixels
        copy.focus[:] = self.focus
        return copy

    def mark(self, points: Points) -> None:
        """Add a polygon to `focus`."""
        cv2.fillPoly(self.focus, [self._fixed(points)], (255,), cv2.LINE_AA, SHIFT)

    def fill(self, points: Points, colour: Array) -> None:
        """Fill a polygon with one colour, its edge antialiased."""
        cv2.fillPoly(self.pixels, [self._fixed(points)], scalar(colour), cv2.LINE_AA, SHIFT)

    def line(self, points: Points, colour: Array, width: float, closed: bool = False) -> None:
        """Draw a line through the points, at least one pixel wide."""
        thickness = max(1, round(width * self.size))
        corners = [self._fixed(points)]
        cv2.polylines(self.pixels, corners, closed, scalar(colour), thickness, cv2.LINE_AA, SHIFT)

    def paint(
        self,
        points: Points,
        paint: Paint,
        *,
        soft: float = 0.0,
        opacity: float = 1.0,
        within: Points | None = None,
        adds: bool = False,
    ) -> None:
        """Paint a polygon, its edge blurred by `soft`, clipped to the polygon `within`.

        With `adds` it is added to the image, as light is; otherwise it covers the image.
        """
        margin = 3 * soft + 2 / self.size
        corners = np.asarray(points, np.float32)
        box = self._box(corners.min(0) - margin, corners.max(0) + margin)
        if box is None:
            return
        mask = self._mask(corners, box)
        if soft * self.size > 0.3:
            mask = cv2.GaussianBlur(mask, (0, 0), soft * self.size)
        if within is not None:
            mask = cv2.multiply(
                mask, self._mask(np.asarray(within, np.float32), box), scale=1 / 255
            )
        self._blend(box, mask.astype(np.float32) * (opacity / 255), paint, adds)

    def cover(self, paint: Paint, opacity: Array | float = 1.0) -> None:
        """Paint the whole image; opacity is a number or (size, size), in 0..1."""
        everything = (slice(0, self.size), slice(0, self.size))
        alpha = np.broadcast_to(np.asarray(opacity, np.float32), (self.size, self.size))
        self._blend(everything, alpha, paint)

    def multiply(self, factor: Array) -> None:
        """Lighten or darken everything by factors (size, size) or (size, size, 3)."""
        factor = factor if factor.ndim == 3 else factor[..., None]
        self.pixels[:] = np.clip(self.pixels * factor, 0, 255).astype(np.uint8)

    def glow(self, x: float, y: float, radius: float, light: Array) -> None:
        """Add light around a point, half as strong at the radius."""
        box = self._box((x - 2.5 * radius, y - 2.5 * radius), (x + 2.5 * radius, y + 2.5 * radius))
        if box is None:
            return
        far = ((self.x[box] - x) ** 2 + (self.y[box] - y) ** 2) / radius**2
        lit = self.pixels[box] + np.exp2(-far)[..., None] * light
        self.pixels[box] = np.clip(lit, 0, 255).astype(np.uint8)

    def write(self, text: str, x: float, y: float, height: float, colour: Array, font: int) -> None:
        """Write a line of text whose capitals are `height` high."""
        scale = height * self.size / 22
        at = (int(x * self.size), int(y * self.size))
        weight = max(1, round(scale * 1.4))
        cv2.putText(self.pixels, text, at, font, scale, scalar(colour), weight, cv2.LINE_AA)

    def blur(self, radius: float) -> None:
        """Blur everything."""
        if radius * self.size > 0.2:
            self.pixels[:] = cv2.GaussianBlur(self.pixels, (0, 0), radius * self.size)

    def _fixed(self, points: Points, origin: tuple[int, int] = (0, 0)) -> NDArray[np.int32]:
        corners = np.asarray(points, np.float32) * self.size - 0.5 - array(origin)
        return np.round(corners * (1 << SHIFT)).astype(np.int32)

    def _box(self, low: Sequence[float] | Array, high: Sequence[float] | Array) -> "Box | None":
        x0, y0 = (int(np.clip(v * self.size, 0, self.size)) for v in low)
        x1, y1 = (int(np.clip(np.ceil(v * self.size), 0, self.size)) for v in high)
        return (slice(y0, y1), slice(x0, x1)) if x1 > x0 and y1 > y0 else None

    def _mask(self, corners: Array, box: "Box") -> Image:
        mask = np.zeros((box[0].stop - box[0].start, box[1].stop - box[1].start), np.uint8)
        origin = (box[1].start, box[0].start)
        cv2.fillPoly(mask, [self._fixed(corners, origin)], (255,), cv2.LINE_AA, SHIFT)
        return mask

    def _blend(self, box: "Box", alpha: Array, paint: Paint, adds: bool = False) -> None:
        below = self.pixels[box].astype(np.float32)
        colour = paint(self.x[box], self.y[box]) if callable(paint) else paint
        change = colour if adds else np.clip(colour, 0, 255) - below
        self.pixels[box] = np.clip(below + alpha[..., None] * change + 0.5, 0, 255).astype(np.uint8)


Box: TypeAlias = tuple[slice, slice]


def array(values: ArrayLike) -> Array:
    """Return numbers as float32."""
    return np.asarray(values, np.float32)


def scalar(colour: Array) -> tuple[float, float, float]:
    """Return a colour as an OpenCV scalar."""
    red, green, blue = np.clip(colour, 0, 255).tolist()
    return red, green, blue


def rgb(hue: float, saturation: float, value: float) -> Array:
    """Return a colour (3,) in 0..255; hue in turns."""
    return array(colorsys.hsv_to_rgb(hue % 1, saturation, value)) * np.float32(255)


def natural(rng: np.random.Generator) -> Array:
    """Return a colour of ordinary things: mostly muted, of any brightness."""
    return rgb(rng.random(), float(rng.beta(1.1, 2.2)), float(np.clip(rng.beta(1.9, 1.3), 0.03, 1)))


def vivid(rng: np.random.Generator) -> Array:
    """Return a saturated, bright colour, as lamps and screens have."""
    return rgb(rng.random(), rng.uniform(0.6, 1), rng.uniform(0.7, 1))


def warm(rng: np.random.Generator, value: float) -> Array:
    """Return a colour of wood, clay or sand."""
    return rgb(rng.uniform(0.03, 0.11), rng.uniform(0.25, 0.7), value)


def box(x: float, y: float, width: float, height: float) -> Array:
    """Return a rectangle's corners from its upper left one."""
    return array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])


def oval(x: float, y: float, rx: float, ry: float, angle: float = 0.0, corners: int = 28) -> Array:
    """Return an ellipse's outline, turned by an angle in radians."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    u, v = rx * np.cos(turn), ry * np.sin(turn)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([x + u * cos - v * sin, y + u * sin + v * cos], -1).astype(np.float32)


def capsule(start: Array, end: Array, wide: float, narrow: float) -> Array:
    """Return a limb's outline: a line with a round cap and another radius at either end."""
    along = np.asarray(end, np.float32) - np.asarray(start, np.float32)
    angle = float(np.arctan2(along[1], along[0]))
    back = angle + np.linspace(np.pi / 2, 3 * np.pi / 2, 8)
    front = angle + np.linspace(-np.pi / 2, np.pi / 2, 8)
    first = np.stack([np.cos(back), np.sin(back)], -1) * wide + start
    return np.concatenate([first, np.stack([np.cos(front), np.sin(front)], -1) * narrow + end])


def rounded(points: Points, times: int = 3) -> Array:
    """Round a closed polygon's corners (Chaikin's corner cutting)."""
    outline = np.asarray(points, np.float32)
    for _ in range(times):
        following = np.roll(outline, -1, 0)
        cuts = [0.75 * outline + 0.25 * following, 0.25 * outline + 0.75 * following]
        outline = np.stack(cuts, 1).reshape(-1, 2)
    return outline


def octaves(
    rng: np.random.Generator, size: int, *, coarse: int = 2, fine: int = 64, fall: float = 0.55
) -> Array:
    """Return smooth noise (size, size) of mean 0 and deviation 1: grids, each twice as fine."""
    total = np.zeros((size, size), np.float32)
    cells, strength = coarse, 1.0
    while cells <= min(fine, size):
        grid = rng.standard_normal((cells + 1, cells + 1), dtype=np.float32)
        total += strength * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        cells, strength = cells * 2, strength * fall
    return array((total - total.mean()) / (total.std() + 1e-6))


def sampled(grain: Array, u: Array, v: Array) -> Array:
    """Return noise at coordinates in -1..1, repeated beyond its edges."""
    side = grain.shape[0]
    across = ((u + 1) * (0.5 * side)).astype(np.float32)
    down = ((v + 1) * (0.5 * side)).astype(np.float32)
    return cv2.remap(grain, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def pick(rng: np.random.Generator, *weights: float) -> int:
    """Return an index, chosen by weights."""
    bounds = np.cumsum(weights)
    return int(np.searchsorted(bounds, rng.random() * bounds[-1], side="right"))
