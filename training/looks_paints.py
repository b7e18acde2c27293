"""Looks of flat areas and brushes: cartoon, comic, oil, watercolour."""

import cv2
import numpy as np

from training.looks_filters import (
    BOLD,
    LUMA,
    Array,
    Image,
    array,
    blurred,
    contours,
    denoised,
    gradient,
    luma,
    mixed,
    quantised,
    smoothstep,
    strokes,
    to_float,
    to_image,
    tone_mapped,
    vivid,
)
from training.looks_grids import dots

WET = 1.4
"""Half the width in pixels of the border that a wash leaves, as `FINE` and `BOLD` are."""
DARK = array([0.05, 0.04, 0.07])
WHITE_PAPER = array([0.99, 0.985, 0.96])


def cartoon(image: Image) -> Image:
    """Render flat, saturated areas within dark outlines."""
    quiet = denoised(image, 45, 4)
    areas = kuwahara(kuwahara(kuwahara(to_float(quiet), 7), 7), 5)
    areas = mixed(areas, to_float(quiet), 0.7 * smoothstep(contours(quiet, 0.02, 0.045), 0.1, 0.6))
    return to_image(outlined(flat(areas, 5, 1.9), outlines(quiet)))


def comic(image: Image) -> Image:
    """Render printed paper: three tones, heavy outlines, dots in the shadows."""
    quiet = denoised(image, 45, 3)
    area = flat(kuwahara(to_float(quiet), 5), 4, 2.0)
    shade = smoothstep(tone_mapped(blurred(luma(quiet), 2.0)), 0.42, 0.1)
    area = mixed(0.15 + 0.85 * area, 0.45 * area, 0.9 * dots(0.55 * shade))
    return to_image(outlined(area, outlines(quiet)))


def outlines(quiet: Image) -> Array:
    """Return the lines of a brush: fine ones for details, broad ones along shapes."""
    fine = 0.9 * strokes(quiet, 0.9, 0.022)
    broad = smoothstep(contours(quiet, 0.013, 0.027, 2.2, BOLD), 0.15, 0.55)
    return np.maximum(np.maximum(fine, strokes(quiet, 2.0, 0.05)), broad)


def oil(image: Image) -> Image:
    """Render strokes of thick, rich paint that run along the shapes, with raised edges."""
    rgb = to_float(denoised(image, 30, 1))
    dabs = kuwahara(kuwahara(kuwahara(rgb, 9), 5), 5)
    across, down = flow(luma(image))
    painted = brushed(mixed(dabs, rgb, 0.4), across, down, 8)
    crisp = painted + 2.0 * (painted - blurred(painted, 3.0))
    detail = smoothstep(contours(image, 0.016, 0.04, 1.6), 0.0, 0.6)
    strokes = mixed(crisp, kuwahara(rgb, 3), 0.6 * detail)
    right, below = gradient(blurred(strokes @ LUMA, 1.0))
    relief = np.clip((right + below) * -4.5, -0.22, 0.22)
    rich = vivid(0.35 * strokes + 0.65 * smoothstep(strokes, -0.05, 0.95), 1.8)
    return to_image(rich + relief[..., None])


def watercolour(image: Image) -> Image:
    """Render light washes that leave white paper, with darker borders where they dried."""
    quiet = to_float(denoised(image, 45, 2))
    details = smoothstep(contours(image, 0.016, 0.036, 1.4), 0.0, 0.5)
    washes = mixed(kuwahara(kuwahara(quiet, 9), 7), quiet, 0.7 * details)
    grey = washes @ LUMA
    light = tone_mapped(grey, 0.6)
    lifted = np.clip(washes * ((light + 0.03) / (grey + 0.03))[..., None], 0, 1)
    pale = vivid(1 - (1 - smoothstep(lifted, -0.45, 0.85)) * 0.95, 2.2)
    wash = mixed(pale, np.broadcast_to(WHITE_PAPER, pale.shape), smoothstep(light, 0.5, 0.75))
    # Pigment gathers at the borders of a wash, and settles in its grain.
    level = quantised(blurred(light, 1.2), 5, 0.3)
    pool = np.clip(2.0 * (blurred(level, 3.0) - level), 0, 0.35)
    grain = np.clip(3.5 * (blurred(luma(image), 1.5) - luma(image)), -0.06, 0.12) * (1 - light)
    rim = 0.8 * contours(to_image(washes), 0.009, 0.028, 1.6, WET)
    fine = 0.5 * strokes(image, 0.9, 0.02)
    wet = np.clip(1 - (1 - rim) * (1 - pool) * (1 - fine) + grain, 0, 1)
    return to_image(wash * (1 - wet[..., None] * array([0.78, 0.7, 0.55])))


def flow(grey: Array) -> tuple[Array, Array]:
    """Return the direction along the edges at each pixel (x, y), from the structure tensor."""
    right, down = gradient(blurred(grey, 1.5))
    a, b, c = (blurred(p, 4.0) for p in (right * right, right * down, down * down))
    angle = 0.5 * np.arctan2(2 * b, a - c) + np.float32(np.pi / 2)
    return np.cos(angle), np.sin(angle)


def brushed(rgb: Array, across: Array, down: Array, reach: int) -> Array:
    """Average along the flow (Cabral and Leedom 1993), over `reach` pixels either way."""
    height, width = rgb.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    total = rgb.copy()
    for side in (-1, 1):
        for step in range(1, reach + 1):
            place = (x + side * step * across, y + side * step * down)
            total += cv2.remap(rgb, *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return array(total / (2 * reach + 1))


def flat(rgb: Array, levels: int, saturation: float) -> Array:
    """Return an image with few levels of brightness and saturated colours."""
    bright = rgb.max(-1)
    level = 0.08 + 0.92 * quantised(blurred(np.sqrt(bright), 1.0), levels, 0.2) ** 2
    return vivid(rgb * np.clip(level / (bright + 0.02), 0, 3)[..., None], saturation)


def outlined(rgb: Array, lines: Array) -> Array:
    """Draw dark lines over `rgb`."""
    return mixed(rgb, np.broadcast_to(DARK, rgb.shape), lines)


def kuwahara(rgb: Array, reach: int) -> Array:
    """Average each pixel over the most uniform of the four squares around it (Kuwahara 1976)."""
    grey = rgb @ LUMA
    kernel, end, edge = (reach, reach), reach - 1, cv2.BORDER_REFLECT
    total = np.zeros_like(rgb)
    weights = np.zeros_like(grey)
    for at in ((0, 0), (end, 0), (0, end), (end, end)):
        mean = cv2.boxFilter(rgb, -1, kernel, anchor=at, borderType=edge)
        squares = cv2.boxFilter(grey * grey, -1, kernel, anchor=at, borderType=edge)
        variance = np.maximum(squares - np.square(mean @ LUMA), 0) + np.float32(6e-4)
        weight = np.float32(1e-12) / np.square(np.square(variance))
        total += mean * weight[..., None]
        weights += weight
    return total / weights[..., None]
