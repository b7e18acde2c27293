"""Spans of faders: the part of a number's range that a hand moves over, as a model wants it.

The rest of the range is reached by number.
"""

import math
from collections.abc import Mapping
from typing import Any

from streamcam.errors import suggest
from streamcam.settings.base import from_json, traits
from streamcam.settings.named_numbers import is_named_numbers
from streamcam.settings.number_range import Range
from streamcam.settings.parameters import Parameters

Span = tuple[float, float]
"""Lower and upper end of a fader."""
EXAMPLE = "such as { strength = 0.6, guidance_scale = [0, 3] }"


def fader_ranges(
    faders: Mapping[str, Span], table: type[Parameters] = Parameters
) -> dict[str, Range]:
    """Return the range of every live number by its field, with the part that its fader spans.

    Args:
        faders: spans that replace those of the declarations, by field.
        table: the live parameters. Of a field with numbers by name, the range is that of each.
    """
    ranges: dict[str, Range] = {}
    for name, field in table.model_fields.items():
        range_ = Range.of_each(field) if is_named_numbers(field) else Range.of_field(field)
        if range_ and not traits(field).trigger:
            span = faders.get(name) or faders.get(traits(field).spans_as)
            ranges[name] = range_._replace(usual=span) if span else range_
    return ranges


def parse_faders(value: Any) -> dict[str, Span]:
    """Read the ends of faders by field: both, or the upper one alone.

    Raises:
        ValueError: a name is no number, or an end lies outside of its range.
    """
    value = from_json(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"takes numbers by the names of live settings, {EXAMPLE}")
    ranges = fader_ranges({})
    for name in value:
        if name not in ranges:
            raise ValueError(f'no fader is named "{name!s:.40}": {suggest(str(name)[:40], ranges)}')
    return {name: _span(name, ends, ranges[name]) for name, ends in value.items()}


def merged_faders(before: Any, after: Any) -> dict[str, Span]:
    """Return `before` with the spans of `after`; raise ValueError where one is refused."""
    return parse_faders(before) | parse_faders(after)


def _span(name: str, ends: Any, range_: Range) -> Span:
    pair = ends if isinstance(ends, (list, tuple)) else (range_.fader.low, ends)
    if len(pair) != 2 or not all(_is_end(end, range_) for end in pair):
        number = "whole number" if range_.whole else "number"
        raise ValueError(
            f"{name} takes a {number} for the upper end of its fader, or two for both ends, such as"
            f" [{range_.fader.low:g}, {range_.fader.high:g}]"
        )
    low, high = pair
    if not (range_.low <= low and high <= range_.high):
        limits = f"at least {range_.low:g}" if range_.shown.startswith("from") else range_.shown
        raise ValueError(f"the ends of {name} have to lie within its range: {limits}")
    if low >= high:
        raise ValueError(
            f"the lower end of {name}, {low:g}, has to be below the upper one, {high:g}"
        )
    return (low, high)


def _is_end(end: Any, range_: Range) -> bool:
    # A truth value is a number to Python, though nobody means one here.
    if isinstance(end, bool) or not isinstance(end, (int, float)):
        return False
    return isinstance(end, int) or (end.is_integer() if range_.whole else math.isfinite(end))
