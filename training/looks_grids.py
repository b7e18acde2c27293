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
    vivid,
)

CELL = 8
BLOCK = 4
"""Side of a pixel of pixel art."""
DITHER = array([[-0.375, 0.125], [0.375, -0.125]])
"""Bayer's matrix: what is added to blocks, as a share of a level, before they are rounded."""
TONES = 6
"""Levels of brightness of pixel art."""
PAPER = array([0.97, 0.95, 0.90])
INK = array([0.08, 0.08, 0.12])


def pixel_art(image: Image) -> Image:
    """Render blocks of four pixels in a small palette, its levels dithered (Bayer 1973)."""
    height, width = image.shape[:2]
    small = cv2.resize(
        to_float(image), (width // BLOCK, height // BLOCK), interpolation=cv2.INTER_AREA
    )
    pattern = np.tile(DITHER, (height // CELL, width // CELL)) / (TONES - 1)
    blocks = palette(vivid(lively(small), 1.1) + pattern[..., None], TONES, 4, 1.5, 0.1)
    return to_image(cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST))


def lively(rgb: Array) -> Array:
    """Raise the contrast of the mid tones a little."""
    return np.asarray(0.5 * rgb + 0.5 * smoothstep(rgb, 0.0, 1.0))


def halftone(image: Image, ink: Array | None = None, paper: Array | None = None) -> Image:
    """Render dots of ink, one per cell, that cover more of it where the image is darker."""
    ink = INK if ink is None else 0.75 * ink
    tone = tone_mapped(luma(image), 0.75)
    coverage = dots(np.clip(1 - smoothstep(tone, 0.05, 0.82), 0.05, 0.9))
    return to_image(ramp(coverage, [PAPER if paper is None else pastel(paper), ink]))


def dots(cover: Array) -> Array:
    """Return round dots (H, W) in 0..1, two per cell, that cover the share `cover` of it.

    The radius follows each pixel's own cover, not the cell's, so that a dot is cut at an edge.
    """
    shares, radii = radius_by_share()
    radius = np.interp(blurred(cover, 1.8), shares, radii).astype(np.float32)
    return array(np.clip(radius - distances(*cover.shape) + np.float32(0.5), 0, 1))


@functools.lru_cache(maxsize=8)
def distances(height: int, width: int) -> Array:
    """Return the distance of each pixel (H, W) from the nearest dot, on a screen at 45 degrees."""
    y, x = (np.arange(side, dtype=np.float32) % CELL - (CELL - 1) / 2 for side in (height, width))
    middle = np.hypot(y[:, None], x[None])
    corner = np.hypot(CELL / 2 - np.abs(y)[:, None], CELL / 2 - np.abs(x)[None])
    return array(np.minimum(middle, corner))


@functools.lru_cache(maxsize=1)
def radius_by_share() -> tuple[Array, Array]:
    """Return shares of a cell that a dot covers, and the radii in pixels that cover them."""
    radii = np.linspace(-0.5, 4.6, 52, dtype=np.float32)
    far = distances(CELL, CELL)
    shares = [float(np.clip(radius - far + 0.5, 0, 1).mean()) for radius in radii]
    return array(shares), radii
