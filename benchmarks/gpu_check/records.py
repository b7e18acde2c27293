"""Records of a check: figures, outcomes of targets, what was left out, and how sections ended."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.target_table import Outcome

Value = float | str


@dataclass(frozen=True, slots=True)
class Reading:
    """Figures of one thing that was measured; their names have the units."""

    name: str
    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A thing that could not be measured here."""

    why: str


@dataclass(frozen=True, slots=True)
class SectionEnd:
    """The end of a section."""

    status: str
    """``ok``, ``failed``, or ``not run``."""
    why: str
    """Empty where it is ok."""
    seconds: float


Record = Reading | LeftOut | Outcome | SectionEnd


def as_json(record: Record) -> dict[str, Any]:
    """Return `record` as an object of JSON."""
    if isinstance(record, Outcome):
        target, figure, note = record
        return {
            "kind": "target",
            "target": target.what,
            "figure": figure,
            "unit": target.unit,
            "bound": target.bound,
            "at_most": target.at_most,
            "note": note,
        }
    kinds = {Reading: "reading", LeftOut: "left out", SectionEnd: "end"}
    return {"kind": kinds[type(record)], **asdict(record)}
