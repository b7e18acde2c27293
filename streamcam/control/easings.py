"""Easings: how far a fade has come, from 0 to 1, by the share of its time that has passed."""

from collections.abc import Callable, Mapping

EASINGS: Mapping[str, Callable[[float], float]] = {
    "linear": lambda t: t,
    "ease-in": lambda t: t * t,
    "ease-out": lambda t: t * (2 - t),
    "ease-in-out": lambda t: t * t * (3 - 2 * t),
}
"""By the names of `Easing`; each goes from 0 to 1 and never back."""
