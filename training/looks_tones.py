"""Looks that recolour each pixel by its brightness or its colour.

Ramps place a colour at its own luma where they can, so that a look changes its own result little.
"""

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
    palette,
    quantised,
    ramp,
    smoothstep,
    to_float,
    to_image,
    tone_mapped,
)

BLACK = np.zeros(3, np.float32)
WHITE = np.ones(3, np.float32)


def plain(image: Image) -> Image:
    """Return the image unchanged."""
    return image


def black_and_white(image: Image) -> Image:
    """Render greys with a little more contrast."""
    grey = luma(image)
    return to_image(0.7 * grey + 0.3 * smoothstep(grey, 0, 1))


def sepia(image: Image) -> Image:
    """Render the browns of an old photograph."""
    browns = [(0.13, 0.08, 0.05), (0.44, 0.30, 0.18), (0.80, 0.66, 0.46), (0.98, 0.93, 0.80)]
    return to_image(ramp(luma(image), [array(c) for c in browns]))


def negative(image: Image) -> Image:
    """Invert every colour."""
    return 255 - image


def xray(image: Image, light: Array | None = None) -> Image:
    """Render bright bones on black: brightness inverted, edges lit, cold blue or another colour."""
    light = array([0.45, 0.78, 1.0]) if light is None else light
    quiet = denoised(image)
    bones = (1 - tone_mapped(blurred(luma(quiet), 1.0))) ** 1.6
    glow = np.clip(bones * 0.95 + 0.3 * contours(quiet), 0, 1)
    return to_image(ramp(glow, [BLACK, 0.35 * light, 0.85 * light, 0.5 * light + 0.5]))


def thermal(image: Image) -> Image:
    """Render a heat camera: soft, from black over violet, red and yellow to white."""
    iron = [(0.02, 0.0, 0.08), (0.20, 0.0, 0.55), (0.70, 0.03, 0.55), (0.95, 0.30, 0.10)]
    hot = [(1.0, 0.65, 0.0), (1.0, 0.92, 0.35), (1.0, 1.0, 0.92)]
    heat = tone_mapped(blurred(luma(image), 2.2))
    return to_image(ramp(heat, [array(c) for c in (*iron, *hot)]))


def night_vision(image: Image) -> Image:
    """Render the green light of an image intensifier, with scan lines four pixels apart."""
    light = tone_mapped(blurred(luma(image), 0.9)) ** 0.85
    rows = 1 - 0.28 * (np.arange(image.shape[0]) % 4 >= 2)
    greens = [(0.0, 0.07, 0.02), (0.05, 0.55, 0.10), (0.35, 0.95, 0.35), (0.85, 1.0, 0.80)]
    lit = ramp(light, [array(c) for c in greens])
    return to_image(lit * rows.astype(np.float32)[:, None, None])


def tint(image: Image, colour: Array) -> Image:
    """Render everything in one colour, from black over it to white."""
    place = float(np.clip(colour @ LUMA, 0.3, 0.8))
    return to_image(ramp(luma(image), [BLACK, colour, WHITE], [0, place, 1]))


def duotone(image: Image, first: Array | None = None, second: Array | None = None) -> Image:
    """Render two colours: the darker one for shadows, the lighter one for highlights."""
    first = array([0.16, 0.10, 0.42]) if first is None else first
    second = array([1.0, 0.72, 0.55]) if second is None else second
    dark, light = sorted((first, second), key=lambda colour: float(colour @ LUMA))
    dark = dark * min(1.0, 0.2 / max(float(dark @ LUMA), 1e-3))
    short = max(0.0, 0.75 - float(light @ LUMA))
    light = light + (1 - light) * short / max(1 - float(light @ LUMA), 1e-3)
    return to_image(ramp(smoothstep(tone_mapped(luma(image)), -0.1, 0.9), [dark, light]))


def golden_hour(image: Image) -> Image:
    """Render a low sun: amber light, brown shadows, highlights that glow."""
    rgb = to_float(image)
    grey = luma(image)
    amber = [(0.12, 0.05, 0.04), (0.50, 0.25, 0.10), (0.98, 0.66, 0.25), (1.0, 0.93, 0.70)]
    lit = rgb * array([1.15, 0.95, 0.66]) + array([0.04, 0.01, 0.0])
    warm = mixed(lit, ramp(grey, [array(c) for c in amber]), 0.38)
    bloom = blurred(smoothstep(grey, 0.45, 1.0), 9.0)
    return to_image(warm + bloom[..., None] * array([0.32, 0.16, 0.0]))


def frosty(image: Image) -> Image:
    """Render winter: ice blue, pale, edges and highlights covered with white."""
    grey = luma(image)
    ice = [(0.07, 0.16, 0.30), (0.36, 0.58, 0.78), (0.78, 0.91, 0.98), (1.0, 1.0, 1.0)]
    cold = mixed(to_float(image), ramp(0.12 + 0.88 * grey, [array(c) for c in ice]), 0.75)
    rime = 0.55 * contours(denoised(image)) + 0.35 * blurred(smoothstep(grey, 0.5, 1.0), 6.0)
    return to_image(mixed(cold, np.broadcast_to(array([0.95, 0.99, 1.0]), cold.shape), rime))


def cyberpunk(image: Image) -> Image:
    """Render a night of neon signs: indigo shadows, magenta, cyan light."""
    signs = [(0.03, 0.01, 0.12), (0.38, 0.03, 0.58), (0.98, 0.12, 0.68), (0.25, 0.90, 1.0)]
    places = [0, 0.22, 0.45, 0.68, 1]
    colours = [array(c) for c in (*signs, (0.92, 1.0, 1.0))]
    lit = ramp(tone_mapped(luma(image)), colours, places)
    return to_image(mixed(to_float(image), lit, 0.82))


def pop_art(image: Image) -> Image:
    """Render a screen print in four loud colours, with a black plate of contours."""
    quiet = denoised(image, 45, 2)
    loud = [(0.13, 0.05, 0.42), (0.88, 0.05, 0.48), (1.0, 0.50, 0.08), (1.0, 0.93, 0.35)]
    levels = quantised(smoothstep(tone_mapped(blurred(luma(quiet), 1.0)), 0.0, 0.8), 4, 0.12)
    print_ = ramp(levels, [array(c) for c in loud])
    return to_image(print_ * (1 - 0.85 * contours(quiet, 0.012, 0.03))[..., None])


def posterised(image: Image) -> Image:
    """Render few levels of brightness and of colour, with hard borders."""
    return to_image(palette(to_float(denoised(image, 40, 2)), 5, 4, 1.6, 0.15))
