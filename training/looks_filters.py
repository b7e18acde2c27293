"""Filters for looks: luma, tone, colour ramps, denoising, contours of constant width.

`image` is (H, W, 3) uint8, `rgb` (H, W, 3) float32 in 0..1, `plane` (H, W). Filters are local
and the same for every frame, so that a still image stays still and motion in one part does not
change the rest.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

# float32, and uint8 below; the stubs of numpy and OpenCV do not follow them through arithmetic.
Array: TypeAlias = NDArray[Any]
Image: TypeAlias = NDArray[Any]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
FINE, BOLD = 1.2, 2.5
"""Half a contour's width in pixels, where it has fallen to 37 %: lines 2 and 4 pixels wide."""


def array(values: ArrayLike) -> Array:
    """Return numbers as float32."""
    return np.asarray(values, np.float32)


def to_float(image: Image) -> Array:
    """Return (H, W, 3) uint8 as float32 in 0..1."""
    return image.astype(np.float32) * np.float32(1 / 255)


def to_image(rgb: Array) -> Image:
    """Return `rgb` or a plane, clipped to 0..1, as an image."""
    if rgb.ndim == 2:
        rgb = cv2.merge([rgb] * 3)
    return (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)


def luma(image: Image) -> Array:
    """Return the brightness (H, W) in 0..1."""
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) * np.float32(1 / 255)


def blurred(plane: Array, sigma: float) -> Array:
    """Blur; large sigmas at an eighth of the size, which takes a tenth of the time."""
    if sigma < 6:
        return cv2.GaussianBlur(plane, (0, 0), sigma)
    height, width = plane.shape[:2]
    small = cv2.resize(
        plane, (max(width // 8, 1), max(height // 8, 1)), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), sigma / 8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def tone_mapped(grey: Array, strength: float = 0.45) -> Array:
    """Brighten dark regions and darken bright ones by their surroundings, as an eye does."""
    around = blurred(grey, 24.0)
    gain = np.clip((0.45 / (around + 0.12)) ** strength, 0.75, 1 + 2 * strength)
    return np.clip(grey * gain, 0, 1)


def denoised(image: Image, colour: float = 28.0, passes: int = 1, reach: int = 5) -> Image:
    """Remove noise and keep edges, with a bilateral filter (Tomasi and Manduchi 1998)."""
    for _ in range(passes):
        image = cv2.bilateralFilter(image, reach, colour, reach / 2)
    return image


def smoothstep(plane: Array, low: float, high: float) -> Array:
    """Rise smoothly from 0 at `low` to 1 at `high`, or fall where low > high."""
    t = np.clip((plane - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def quantised(plane: Array, levels: int, softness: float = 0.3) -> Array:
    """Round to `levels` values from 0 to 1; `softness` (more than 0) of each stair is a slope."""
    scaled = plane * (levels - 1)
    floor = np.floor(scaled)
    rise = smoothstep(scaled - floor, 0.5 - softness / 2, 0.5 + softness / 2)
    return array((floor + rise) / (levels - 1))


def palette(rgb: Array, levels: int, hues: int, saturation: float, softness: float) -> Array:
    """Reduce to `levels` of brightness and `hues` of either chroma, grey among them."""
    grey = rgb @ LUMA
    bright = quantised(grey, levels, softness)
    colours = []
    for channel in (0, 2):
        chroma = (rgb[..., channel] - grey) * saturation
        colours.append(quantised(np.clip(chroma + 0.5, 0, 1), 2 * hues + 1, softness) - 0.5)
    red, blue = colours[0] + bright, colours[1] + bright
    green = (bright - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    return np.clip(cv2.merge([red, green, blue]), 0, 1)


def ramp(plane: Array, colours: Sequence[Array], places: Sequence[float] | None = None) -> Array:
    """Colour values 0..1 along a ramp of colours (3,), evenly spaced or at given places."""
    at = np.linspace(0, 1, len(colours)) if places is None else places
    values = np.linspace(0, 1, 1024)
    table = np.stack([np.interp(values, at, [c[i] for c in colours]) for i in range(3)], -1)
    return table.astype(np.float32)[(np.clip(plane, 0, 1) * 1023 + 0.5).astype(np.int32)]


def mixed(below: Array, above: Array, amount: Array | float) -> Array:
    """Blend `above` over `below`; `amount` is (H, W) or a number, in 0..1."""
    share = amount[..., None] if isinstance(amount, np.ndarray) else amount
    return below + (above - below) * share


def vivid(rgb: Array, saturation: float) -> Array:
    """Scale the distance of colours from grey."""
    grey = (rgb @ LUMA)[..., None]
    return np.clip(grey + (rgb - grey) * saturation, 0, 1)


def pastel(paper: Array) -> Array:
    """Return a colour as paper: pale, so that ink shows on it, or black."""
    return paper if float(paper @ LUMA) < 0.2 else 0.5 * paper + 0.5


def gradient(plane: Array) -> tuple[Array, Array]:
    """Return the change per pixel to the right and downwards (Scharr)."""
    across = cv2.Scharr(plane, cv2.CV_32F, 1, 0, scale=1 / 32)
    return across, cv2.Scharr(plane, cv2.CV_32F, 0, 1, scale=1 / 32)


def contours(
    image: Image, low: float = 0.009, high: float = 0.026, sigma: float = 1.4, width: float = FINE
) -> Array:
    """Return lines (H, W) in 0..1 along edges, all of one width, however blurred the edge is.

    An edge is where the second derivative along the gradient passes through 0 (Canny 1986, Haralick
    1984); the distance of a pixel from it follows from the third, so lines lie between pixels and
    do not jump. They fade where the change per pixel falls from `high` to `low`.
    """
    grey = np.sqrt(luma(image) + np.float32(0.01))
    smooth = cv2.GaussianBlur(grey, (0, 0), sigma)
    right, down = gradient(smooth)
    squared = right * right + down * down
    strength = np.sqrt(squared)
    right_right, right_down = gradient(right)
    _, down_down = gradient(down)
    bend = right * right * right_right + 2 * right * down * right_down + down * down * down_down
    bend /= squared + np.float32(1e-8)
    over, under = gradient(bend)
    change = np.sqrt(over * over + under * under)
    distance = bend / (change + np.float32(0.02) * strength + np.float32(1e-6))
    profile = np.exp(-np.square(distance * np.float32(1 / width)))
    return array(profile * smoothstep(strength, low, high))


def strokes(image: Image, sigma: float = 0.9, threshold: float = 0.02, reach: float = 1.6) -> Array:
    """Return dark strokes (H, W) in 0..1: what is darker than its surroundings.

    A difference of Gaussians with a soft threshold (Winnemoeller et al. 2012). It fills eyes,
    brows, lips and the dark sides of edges, whereas `contours` outlines both sides of them.
    """
    grey = np.sqrt(luma(image) + np.float32(0.01))
    darker = blurred(grey, reach * sigma * 1.6) - blurred(grey, sigma)
    return smoothstep(darker, threshold, threshold + 0.05)
