"""What clients send, made into what a field takes: any number for any number, clamped."""

import math
from collections.abc import Sequence
from typing import NamedTuple, get_args

import numpy as np
from pydantic.fields import FieldInfo

from streamcam.control.osc.packets import Argument
from streamcam.errors import ParameterError, suggest

HUGE = 1e9
"""Ranges beyond this are no ranges that a fader could cover."""
FLOAT32_MAX = 3.4e38
WORDS = {"on": 1.0, "true": 1.0, "yes": 1.0, "off": 0.0, "false": 0.0, "no": 0.0}


class Range(NamedTuple):
    """What a number may be, both ends included."""

    low: float
    high: float
    whole: bool = False

    @classmethod
    def of(cls, field: FieldInfo) -> "Range | None":
        """Return the range that `field` declares, None for what is no number."""
        kinds = set(get_args(field.annotation) or (field.annotation,))
        if not kinds & {int, float}:
            return None
        limits = {type(limit).__name__: limit for limit in field.metadata}
        low = limits["Ge"].ge if "Ge" in limits else -math.inf
        high = limits["Le"].le if "Le" in limits else math.inf
        if "Lt" in limits:
            high = limits["Lt"].lt - 1
        return cls(low, high, int in kinds)

    @property
    def fader(self) -> "Range":
        """What 0 to 1 stands for: the range, and 31 bits of a huge one."""
        return self if self.high < HUGE else self._replace(high=2**31 - 1)

    @property
    def shown(self) -> str:
        return f"{self.low:g} – {self.high:g}" if self.high < HUGE else f"from {self.low:g}"

    def clamp(self, value: float) -> float:
        """Return the nearest allowed value, a whole one as int."""
        return min(max(round(value) if self.whole else value, self.low), self.high)

    def to_norm(self, value: float) -> float:
        return min((value - self.low) / (self.high - self.low), 1.0)

    def from_norm(self, share: float) -> float:
        return self.clamp(self.low + min(max(share, 0.0), 1.0) * (self.high - self.low))


def number(arguments: Sequence[Argument]) -> float:
    """Return the first argument as a number: i h f d T F N I or a numeric text.

    Raises:
        ParameterError: there is none, or it is not finite.
    """
    if not arguments:
        raise ParameterError("takes a number")
    value = arguments[0]
    if isinstance(value, float) and abs(value) < FLOAT32_MAX and np.float32(value) == value:
        # 1.2 sent as float32 is 1.2000000476837158; what was meant is the shortest that equals it.
        value = float(str(np.float32(value)))
    try:
        given = _number(value)
        finite = math.isfinite(given)
    except (TypeError, ValueError, OverflowError):
        # Within JSON there may be lists, and whole numbers of any length.
        raise ParameterError(f"takes a number, got {value!r:.40}") from None
    if not finite:
        raise ParameterError(f"takes a finite number, got {given}")
    return given


def _number(value: Argument) -> float:
    if value is None:
        return 0
    if isinstance(value, str):
        # Whole numbers beyond 2^53 keep their last digits.
        return int(value) if value.strip().isdecimal() and len(value) < 20 else float(value)
    return value


def flag(arguments: Sequence[Argument]) -> bool:
    """Return whether the first argument switches on; none at all does."""
    if not arguments:
        return True
    if isinstance(arguments[0], str) and arguments[0].lower() in WORDS:
        return WORDS[arguments[0].lower()] >= 0.5
    return number(arguments) >= 0.5


def word(arguments: Sequence[Argument], choices: Sequence[str]) -> str:
    """Return the choice that is named, or the one at the index given, the nearest there is."""
    if not choices:
        raise ParameterError("there is nothing to choose from")
    named = str(arguments[0]).strip() if arguments else ""
    if arguments and isinstance(arguments[0], float) and arguments[0].is_integer():
        named = str(int(arguments[0]))
    if named in choices:
        return named
    try:
        return choices[int(Range(0, len(choices) - 1, whole=True).clamp(number(arguments)))]
    except ParameterError:
        raise ParameterError(f'no "{named:.40}": {suggest(named, choices)}') from None


def text(arguments: Sequence[Argument], most: int) -> str:
    """Return the arguments joined with spaces, cut to `most` bytes."""
    shown = (f"{a:.7g}" if isinstance(a, float) else str(a) for a in arguments if a is not None)
    return " ".join(shown).encode()[:most].decode(errors="ignore")
