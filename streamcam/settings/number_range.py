"""Ranges of live numbers, read from the declarations of their fields."""

import math
from typing import NamedTuple, get_args

from pydantic.fields import FieldInfo

from streamcam.settings.base import traits
from streamcam.settings.named_numbers import number_of

UNBOUNDED = 1e9
"""A limit beyond this is none that a fader could reach."""


class Range(NamedTuple):
    """The range of a number, both ends included."""

    low: float
    high: float
    whole: bool = False
    usual: tuple[float, float] | None = None
    """Ends of the part that a fader spans, if that is not all of it."""

    @classmethod
    def of_field(cls, field: FieldInfo) -> "Range | None":
        """Return the range that `field` declares, None if it is no number."""
        kinds = set(get_args(field.annotation) or (field.annotation,))
        if not kinds & {int, float}:
            return None
        limits = {type(limit).__name__: limit for limit in field.metadata}
        low = limits["Ge"].ge if "Ge" in limits else -math.inf
        high = limits["Le"].le if "Le" in limits else math.inf
        if "Lt" in limits:
            high = limits["Lt"].lt - 1
        return cls(low, high, int in kinds, traits(field).usual)

    @classmethod
    def of_each(cls, field: FieldInfo) -> "Range":
        """Return the range of each number that `field` holds by name."""
        range_ = cls.of_field(number_of(field))
        assert range_
        return range_._replace(usual=traits(field).usual)

    @property
    def fader(self) -> "Range":
        """The part of the range that 0 to 1 spans: the usual one, else all or 31 bits of it."""
        low, high = self.usual or (self.low, min(self.high, 2**31 - 1))
        return Range(low, high, self.whole)

    @property
    def shown(self) -> str:
        return f"{self.low:g} – {self.high:g}" if self.high < UNBOUNDED else f"from {self.low:g}"

    def clamp(self, value: float) -> float:
        """Return the nearest value in the range, a whole one as int."""
        return min(max(round(value) if self.whole else value, self.low), self.high)

    def to_norm(self, value: float) -> float:
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def from_norm(self, share: float) -> float:
        return self.clamp(self.low + min(max(share, 0.0), 1.0) * (self.high - self.low))
