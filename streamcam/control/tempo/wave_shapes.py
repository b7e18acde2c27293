"""Wave shapes: what a modulator does over a cycle, as pure functions from -1 to 1."""

from collections.abc import Callable, Mapping
from math import floor, sin, tau

Shape = Callable[[float], float]
"""Takes cycles, any number; returns -1 to 1."""


def sine(cycles: float) -> float:
    """Begin in the middle, going up."""
    return sin(tau * (cycles % 1.0))


def triangle(cycles: float) -> float:
    """Begin in the middle, going up, at an even speed both ways."""
    return 1 - 4 * abs((cycles + 0.25) % 1.0 - 0.5)


def square(cycles: float) -> float:
    """Be at the top for half a cycle, then at the bottom."""
    return 1.0 if cycles % 1.0 < 0.5 else -1.0


def ramp(cycles: float) -> float:
    """Go from the bottom to the top, then jump back."""
    return 2 * (cycles % 1.0) - 1


def random(cycles: float) -> float:
    """Jump to another value at the beginning of every cycle; the same in every run."""
    # The integer hash "lowbias32", which is even over its 32 bits.
    x = floor(cycles) & 0xFFFFFFFF
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97), (15, 1)):
        x = (x ^ x >> shift) * factor & 0xFFFFFFFF
    return 2 * x / 0xFFFFFFFF - 1


SHAPES: Mapping[str, Shape] = {
    "sine": sine,
    "triangle": triangle,
    "square": square,
    "ramp": ramp,
    "random": random,
}
"""Shapes by their name."""
