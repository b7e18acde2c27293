"""Method of the OSC namespace: its types and limits, read from the row of its address."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from streamcam.control.addresses import Row
from streamcam.control.messages import Argument
from streamcam.settings.number_range import UNBOUNDED

READABLE, WRITABLE = 1, 2
ACCESS = {"out": READABLE, "in": WRITABLE, "both": READABLE | WRITABLE}
"""ACCESS by the direction of a row."""
TAGS = {
    "number": "f",
    "whole number": "i",
    "whole numbers": "i",
    "0 or 1": "T",
    "trigger": "I",
}
"""OSC type tags by the words of the tables; all else is text."""
NAMES = {
    "name of a preset": "preset/names",
    "name of a cue, or its number from 1": "cue/names",
    "name of a cue list": "cue/lists",
}
"""Addresses of the names that there are, by the words for one of them."""
REPEATED = ("whole numbers", "texts")
"""Words for as many values as there happen to be."""
UNITS = {
    "s": "time.second",
    "ms": "time.ms",
    "Hz": "time.hz",
    "bpm": "time.bpm",
    "BPM": "time.bpm",
    "degrees": "angle.degree",
}
"""Names that OSCQuery has for units; others stay as they are."""
INT32_MAX = 2**31 - 1
NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
LIMITS = re.compile(rf"(?:from (?P<least>{NUMBER})|(?P<low>{NUMBER}) – (?P<high>{NUMBER}))\s*")


class Limits(NamedTuple):
    """Least and greatest value of a number, None where there is none."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Method:
    """An address that has a value, takes one, or both."""

    address: str
    description: str
    access: int
    """1 readable, 2 writable, 3 both."""
    tags: str
    """One OSC type tag for each argument."""
    repeated: bool
    """The only tag stands for any number of values."""
    limits: tuple[Limits | None, ...]
    """For each argument."""
    units: tuple[str, ...]
    """For each argument, empty for those without."""
    choices: tuple[str, ...]
    """Words that it takes, as far as they are fixed."""
    names: str
    """Address, without the prefix, of the words that it takes; empty where they are fixed."""

    @classmethod
    def of_row(cls, row: Row, repeats: int) -> "Method":
        """Read the texts of `row`.

        Args:
            row: of a table.
            repeats: number of values of one that takes several, where it has none yet.
        """
        words = row.types.split(", ")
        described = [_argument(*item) for item in _with_values(words, row.values)]
        tags = "".join(tag for tag, _, _ in described)
        repeated = row.types in REPEATED
        names = NAMES.get(row.values, "")
        has_choices = row.types == "text or index" and not names
        return cls(
            address=row.address,
            description=row.description,
            access=ACCESS[row.direction],
            tags=tags * repeats if row.types == "whole numbers" else tags,
            repeated=repeated,
            limits=tuple(limits for _, limits, _ in described),
            units=tuple(unit for _, _, unit in described),
            choices=_choices(row.values) if has_choices else (),
            names=names,
        )

    def tags_of(self, arguments: Sequence[Argument]) -> str:
        """Return the tags of a value; `arguments` are empty where there is none now."""
        return self.tags[0] * len(arguments) if self.repeated and arguments else self.tags

    def attributes(
        self, path: str, arguments: Sequence[Argument], choices: Sequence[str]
    ) -> dict[str, Any]:
        """Return all attributes that it has.

        Args:
            path: under which it is shown.
            arguments: its value, empty where there is none now.
            choices: words that it takes, at present.
        """
        tags = self.tags_of(arguments)
        # A place for every tag, as clients expect; null is OSC's nil, and JSON's impulse.
        value = list(arguments) or [None] * len(tags)
        found = {
            "FULL_PATH": path,
            "DESCRIPTION": self.description,
            "ACCESS": self.access,
            "TYPE": tags,
            "VALUE": [_as_json(*item) for item in zip(value, tags, strict=False)],
        }
        if choices:
            found["RANGE"] = [{"VALS": list(choices)}]
        elif any(self.limits):
            found["RANGE"] = [self._range(place) for place in range(len(self.limits))]
            found["CLIPMODE"] = [self._clip_mode(place) for place in range(len(self.limits))]
        if any(self.units):
            found["UNIT"] = list(self.units)
        return found

    def _range(self, place: int) -> dict[str, float] | None:
        limits = self.limits[place]
        if limits is None:
            return None
        whole = self.tags[place] in "ih"
        ends = {"MIN": limits.low, "MAX": limits.high}
        return {name: int(end) if whole else end for name, end in ends.items() if end is not None}

    def _clip_mode(self, place: int) -> str:
        limits = self.limits[place]
        if limits is None:
            return "none"
        return "low" if limits.high is None else "both"


def _with_values(words: Sequence[str], values: str) -> Iterator[tuple[str, str]]:
    """Yield each word with the part of `values` that describes it, the last with the last."""
    parts = values.split("; ")
    missing = len(words) - len(parts)
    for place, word in enumerate(words):
        yield word, parts[place - missing] if place >= missing else ""


def _argument(word: str, values: str) -> tuple[str, Limits | None, str]:
    """Return the tag, the limits and the unit of an argument."""
    tag = TAGS.get(word, "s")
    if word not in ("number", "whole number"):
        return tag, None, ""
    found = LIMITS.match(values)
    if found is None:
        return tag, None, _unit(values)
    low = float(found["least"] or found["low"])
    high = None if found["high"] is None else float(found["high"])
    if tag == "i" and (high is None or high >= UNBOUNDED):
        tag = "h"
    return tag, Limits(low, high), _unit(values[found.end() :])


def _unit(text: str) -> str:
    return UNITS.get(text.strip(), text.strip())


def _choices(values: str) -> tuple[str, ...]:
    return tuple(values.split(", " if ", " in values else None))


def _as_json(value: Argument, tag: str) -> Argument:
    if value is None:
        return None
    if tag == "T":
        return bool(value)
    return float(value) if tag == "f" else value
