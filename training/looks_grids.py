"""Looks on a grid of eight pixels, the same as the autoencoder's: pixel art, halftone."""

import functools

import cv2
import numpy as np

from training.looks_filters import (
    Array,
    Image,
    array,
    blurred,
    luma,
    palette,
    pastel,
    ramp,
    smoothstep,
    to_float,
    to_image,
    tone_mapped,
)

CELL = 8
PAPER = array([0.97, 0.95, 0.90])
INK = array([0.08, 0.08, 0.12])


def pixel_art(image: Image) -> Image:
    """Render blocks of eight pixels in a small palette."""
    height, width = image.shape[:2]
    blocks = palette(cells(to_float(image)), 8, 7, 1.5, 0.1)
    return to_image(cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST))


def halftone(image: Image, ink: Array | None = None, paper: Array | None = None) -> Image:
    """Render dots of ink, one per cell, that cover more of it where the image is darker."""
    ink = INK if ink is None else 0.75 * ink
    tone = tone_mapped(luma(image), 0.75)
    coverage = dots(np.clip(1 - smoothstep(tone, 0.05, 0.82), 0.05, 0.9))
    return to_image(ramp(coverage, [PAPER if paper is None else pastel(paper), ink]))


def dots(cover: Array) -> Array:
    """Return round dots (H, W) in 0..1, one per cell, that cover the share `cover` of it.

    The radius follows each pixel's own cover, not the cell's, so that a dot is cut at an edge.
    """
    shares, radii = radius_by_share()
    radius = np.interp(blurred(cover, 1.8), shares, radii).astype(np.float32)
    return array(np.clip(radius - distances(*cover.shape) + np.float32(0.5), 0, 1))


def cells(rgb: Array) -> Array:
    """Return the mean of each cell (H/8, W/8)."""
    height, width = rgb.shape[:2]
    return cv2.resize(rgb, (width // CELL, height // CELL), interpolation=cv2.INTER_AREA)


@functools.lru_cache(maxsize=8)
def distances(height: int, width: int) -> Array:
    """Return the distance of each pixel (H, W) from the centre of its cell."""
    y, x = (np.arange(side, dtype=np.float32) % CELL - (CELL - 1) / 2 for side in (height, width))
    return np.sqrt(y[:, None] ** 2 + x[None] ** 2)


@functools.lru_cache(maxsize=1)
def radius_by_share() -> tuple[Array, Array]:
    """Return shares of a cell that a dot covers, and the radii in pixels that cover them."""
    radii = np.linspace(-0.5, 6.0, 66, dtype=np.float32)
    far = distances(CELL, CELL)
    shares = [float(np.clip(radius - far + 0.5, 0, 1).mean()) for radius in radii]
    return array(shares), radii
