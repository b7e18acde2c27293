"""Looks that nano learns, rendered by classical image processing."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from training import looks_grids, looks_lines, looks_paints, looks_tones
from training.looks_filters import Array, Image, array

PLAIN = "plain"


class Look(NamedTuple):
    """Rendering function and properties of a look."""

    render: Callable[..., Image]
    """Takes (H, W, 3) uint8 and its colours, each (3,) float32 in 0..1."""
    colours: tuple[int, ...] = (0,)
    """Numbers of colours that it accepts."""
    lines: bool = False
    """Whether it consists of lines, whose edges matter more than its tones."""
    idempotent: bool = False
    """Whether it leaves its own result about as it is."""
    weight: float = 1.0
    """Relative frequency in training."""
    gridded: bool = False
    """Whether it has blocks or dots on a grid that is fixed to the frame."""


COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (255, 45, 40),
    "orange": (255, 140, 30),
    "gold": (240, 190, 60),
    "yellow": (255, 235, 50),
    "green": (45, 235, 70),
    "teal": (25, 175, 160),
    "cyan": (50, 235, 255),
    "blue": (45, 95, 255),
    "purple": (150, 60, 245),
    "magenta": (255, 45, 225),
    "pink": (255, 125, 190),
    "brown": (150, 90, 50),
    "white": (255, 255, 255),
    "black": (15, 15, 20),
}

LOOKS: Mapping[str, Look] = {
    PLAIN: Look(looks_tones.plain, weight=1.5, idempotent=True),
    "pencil": Look(looks_lines.pencil, (0, 1, 2), lines=True, weight=2.4),
    "ink": Look(looks_lines.ink, (0, 1, 2), lines=True, weight=2.0),
    "neon": Look(looks_lines.neon, (0, 1, 2), lines=True, weight=2.4),
    "emboss": Look(looks_lines.emboss, (0, 1), lines=True, idempotent=True),
    "cartoon": Look(looks_paints.cartoon, lines=True, weight=3.0),
    "comic": Look(looks_paints.comic, lines=True, weight=2.4),
    "oil": Look(looks_paints.oil, weight=3.0),
    "watercolour": Look(looks_paints.watercolour, weight=2.4),
    "pixel art": Look(looks_grids.pixel_art, weight=2.0, gridded=True),
    "halftone": Look(looks_grids.halftone, (0, 1, 2), idempotent=True, weight=1.8, gridded=True),
    "thermal": Look(looks_tones.thermal, idempotent=True),
    "x-ray": Look(looks_tones.xray, (0, 1)),
    "negative": Look(looks_tones.negative, weight=0.7),
    "night vision": Look(looks_tones.night_vision, idempotent=True, weight=0.7),
    "black and white": Look(looks_tones.black_and_white, idempotent=True, weight=0.7),
    "sepia": Look(looks_tones.sepia, idempotent=True, weight=0.7),
    "tint": Look(looks_tones.tint, (1,), weight=1.4, idempotent=True),
    "duotone": Look(looks_tones.duotone, (0, 2), weight=1.2, idempotent=True),
    "pop art": Look(looks_tones.pop_art, idempotent=True),
    "posterised": Look(looks_tones.posterised),
    "golden hour": Look(looks_tones.golden_hour, weight=0.7),
    "frosty": Look(looks_tones.frosty, weight=0.7),
    "cyberpunk": Look(looks_tones.cyberpunk, idempotent=True, weight=0.7),
}

# A line, a dot or a tint of these could not be distinguished from its background.
_DARK = frozenset({"black"})
_LIGHT = frozenset({"white"})
# Looks that also work light on dark, as chalk does on a blackboard.
CHALK = frozenset({"pencil", "ink"})


def render(image: Image, look: str, colours: Sequence[str] = ()) -> Image:
    """Return an image (H, W, 3) uint8, sides divisible by 8, in a look with named colours."""
    return LOOKS[look].render(image, *(colour(name) for name in colours))


def colour(name: str) -> Array:
    """Return a named colour (3,) in 0..1."""
    return array(COLOURS[name]) / np.float32(255)


def draw_look(rng: np.random.Generator) -> tuple[str, tuple[str, ...]]:
    """Draw a look by its weight, and colours that it takes."""
    names = list(LOOKS)
    weights = np.array([LOOKS[name].weight for name in names])
    look = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    return look, draw_colours(rng, look)


def draw_colours(rng: np.random.Generator, look: str) -> tuple[str, ...]:
    """Draw colours for a look; those of a pair always differ."""
    count = int(rng.choice(LOOKS[look].colours))
    if count == 0:
        return ()
    first = draw_one(rng, first_colours(look, on_ground=count == 2))
    if count == 2 and look in CHALK and rng.random() < 0.25:
        return "white", "black"
    if count == 1:
        return (first,)
    return first, draw_one(rng, second_colours(look, first))


def first_colours(look: str, *, on_ground: bool = False) -> list[str]:
    """Return the colours that lines, dots, light or tones of a look may have."""
    if on_ground and look in ("pencil", "ink", "halftone"):
        return ["red", "green", "teal", "blue", "purple", "magenta", "brown", "black"]
    if look in ("pencil", "ink", "halftone"):
        return [name for name in COLOURS if name not in _LIGHT]
    if look == "duotone":
        return list(COLOURS)
    return [name for name in COLOURS if name not in _DARK]


def second_colours(look: str, first: str) -> list[str]:
    """Return the colours of the background, or of the other half of a pair."""
    if look == "duotone":
        return [name for name in COLOURS if name != first]
    grounds = ["white", "white", "yellow", "pink", "cyan", "gold"]
    if look == "neon":
        grounds = ["black", "black", "black", "blue", "purple", "red", "green", "teal", "brown"]
    return [name for name in grounds if name != first]


def draw_one(rng: np.random.Generator, names: Sequence[str]) -> str:
    """Draw one of the names."""
    return names[int(rng.integers(len(names)))]
