"""Looks made of lines: neon, pencil, ink, emboss."""

import cv2
import numpy as np

from training.looks_filters import (
    LUMA,
    Array,
    Image,
    array,
    blurred,
    contours,
    denoised,
    luma,
    mixed,
    pastel,
    ramp,
    smoothstep,
    strokes,
    to_image,
    tone_mapped,
)

BLACK = np.zeros(3, np.float32)
PAPER = array([0.98, 0.97, 0.95])
GRAPHITE = array([0.16, 0.16, 0.18])
INK = array([0.04, 0.04, 0.07])
STONE = array([0.56, 0.56, 0.56])
CYAN = array([0.1, 0.9, 1.0])
MAGENTA = array([1.0, 0.15, 0.85])


def neon(image: Image, tube: Array | None = None, ground: Array | None = None) -> Image:
    """Render glowing contours on black or on a dark colour; magenta to cyan by default."""
    quiet = denoised(image, 32, 2)
    lines = contours(quiet)
    if tube is None:
        colour = ramp(smoothstep(blurred(luma(quiet), 3.0), 0.15, 0.6), [MAGENTA, CYAN])
    else:
        colour = np.broadcast_to(tube, image.shape)
    back = BLACK if ground is None else 0.22 * ground
    core = 0.35 * smoothstep(lines, 0.6, 1.0)
    light = mixed(colour, np.ones_like(colour), core) * lines[..., None]
    halo = colour * np.clip(1.5 * blurred(lines, 4.0) * (1 - lines), 0, 1)[..., None]
    return to_image(back * (1 - lines[..., None]) + light + 0.75 * halo)


def pencil(image: Image, lead: Array | None = None, paper: Array | None = None) -> Image:
    """Render contours, and strokes where there is detail, on white paper: no even grey."""
    quiet = denoised(image, 30, 2)
    fine, broad = strokes(image, 0.8, 0.008), strokes(quiet, 2.0, 0.02)
    lines = contours(quiet, 0.010, 0.030)
    dark = 1 - (1 - 0.85 * fine) * (1 - 0.6 * broad) * (1 - 0.6 * lines)
    return drawn(dark, GRAPHITE if lead is None else lead, paper)


def ink(image: Image, pen: Array | None = None, paper: Array | None = None) -> Image:
    """Render black strokes and solid shadows on white, without tones between."""
    quiet = denoised(image, 36, 2)
    tone = tone_mapped(blurred(luma(quiet), 2.0), 0.6)
    solid = smoothstep(tone, 0.18, 0.145)
    # Lines in shadows are white, or they would be lost.
    white = solid * smoothstep(contours(quiet, 0.012, 0.030), 0.2, 0.6)
    black = np.maximum(strokes(quiet, 1.0, 0.008), strokes(quiet, 2.2, 0.025))
    dark = np.maximum(solid, black) * (1 - white)
    return drawn(dark, INK if pen is None else pen, paper)


def emboss(image: Image, metal: Array | None = None) -> Image:
    """Render a relief lit from the upper left, in stone or in a metal of the given colour."""
    grey = luma(denoised(image, 30, 2))
    smooth = blurred(np.sqrt(grey + 0.01), 1.3)
    across = cv2.Scharr(smooth, cv2.CV_32F, 1, 0, scale=1 / 32)
    down = cv2.Scharr(smooth, cv2.CV_32F, 0, 1, scale=1 / 32)
    height = np.tanh(-(across + down) * 14.0)
    stone = STONE if metal is None else 0.72 * metal
    return to_image(ramp(0.5 + 0.5 * height, [0.12 * stone, stone, 0.35 * stone + 0.65]))


def drawn(dark: Array, ink_colour: Array, paper: Array | None) -> Image:
    """Return strokes (H, W) in 0..1 in a colour on paper; on black paper light ones too."""
    ground = PAPER if paper is None else pastel(paper)
    on_dark = float(ground @ LUMA) < 0.2
    return to_image(ramp(dark, [ground, ink_colour if on_dark else 0.75 * ink_colour]))
