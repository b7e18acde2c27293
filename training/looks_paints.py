"""Looks of flat areas and brushes: cartoon, comic, oil, watercolour."""

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
    gradient,
    luma,
    mixed,
    quantised,
    smoothstep,
    to_float,
    to_image,
    tone_mapped,
    vivid,
)
from training.looks_grids import dots

DARK = array([0.05, 0.04, 0.07])


def cartoon(image: Image) -> Image:
    """Render flat, saturated areas within dark outlines."""
    quiet = denoised(image, 40, 3)
    return to_image(outlined(flat(quiet, 5, 1.5), contours(quiet, 0.014, 0.036)))


def comic(image: Image) -> Image:
    """Render printed paper: three tones, heavy outlines, dots in the shadows."""
    quiet = denoised(image, 45, 3)
    area = flat(quiet, 4, 1.9)
    shade = smoothstep(tone_mapped(blurred(luma(quiet), 2.0)), 0.42, 0.1)
    area = mixed(0.15 + 0.85 * area, 0.45 * area, 0.9 * dots(0.55 * shade))
    return to_image(outlined(area, smoothstep(contours(quiet, 0.012, 0.030), 0.15, 0.6)))


def oil(image: Image) -> Image:
    """Render strokes of thick, rich paint, each of one colour, with raised edges."""
    patches = kuwahara(kuwahara(to_float(image), 5), 5)
    detail = kuwahara(to_float(image), 3)
    patches = mixed(patches, detail, smoothstep(contours(image, 0.014, 0.035, 1.6), 0.0, 0.5))
    grey = patches @ LUMA
    strokes = patches * ((quantised(grey, 10, 0.35) + 0.02) / (grey + 0.02))[..., None]
    across, down = gradient(blurred(strokes @ LUMA, 1.0))
    relief = np.clip((across + down) * -2.4, -0.14, 0.14)
    rich = vivid(0.5 * strokes + 0.5 * smoothstep(strokes, -0.05, 0.95), 1.5)
    return to_image(rich + relief[..., None])


def watercolour(image: Image) -> Image:
    """Render thin, light washes with darker borders, and white paper."""
    quiet = to_float(denoised(image, 45, 2))
    details = smoothstep(contours(image, 0.02, 0.04, 1.6), 0.0, 0.5)
    washes = mixed(kuwahara(quiet, 5), quiet, details)
    grey = washes @ LUMA
    light = tone_mapped(grey, 0.75)
    lifted = washes * ((light + 0.03) / (grey + 0.03))[..., None]
    pale = vivid(1 - (1 - np.clip(lifted, 0, 1) ** 0.8) * 0.78, 1.8)
    grey = pale @ LUMA
    level = quantised(blurred(grey, 1.0), 7, 0.5)
    banded = pale * ((level + 0.1) / (grey + 0.1))[..., None]
    wash = mixed(banded, np.ones_like(banded), smoothstep(light, 0.5, 0.9))
    rim = contours(to_image(washes), 0.008, 0.04)
    return to_image(wash * (1 - rim[..., None] * array([0.5, 0.48, 0.4])))


def flat(quiet: Image, levels: int, saturation: float) -> Array:
    """Return a denoised image with few levels of brightness and saturated colours."""
    rgb = to_float(quiet)
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
