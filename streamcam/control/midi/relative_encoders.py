"""Relative encoders: knobs without ends, which send steps in one of three encodings."""

from collections.abc import Sequence
from itertools import pairwise

AUTO = "auto"
ENCODINGS = ("twos-complement", "offset", "sign-bit")
"""1 is a step up in the first and the last, 65 in the second; 127, 63 and 65 are one down."""
LARGEST_STEP = 16
"""Larger steps in one message are taken for another encoding, where that is not known."""
LEAST_MESSAGES = 3


def decode(value: int, encoding: str) -> int:
    """Return the steps that the 7-bit `value` stands for, negative ones down."""
    if encoding == "offset":
        return value - 64
    if encoding == "sign-bit":
        return 64 - value if value > 64 else value % 64
    return value - 128 if value >= 64 else value


def plausible(values: Sequence[int]) -> tuple[str, ...]:
    """Return the encodings in which none of `values` would be a leap."""
    return tuple(
        encoding
        for encoding in ENCODINGS
        if all(0 <= abs(decode(value, encoding)) <= LARGEST_STEP for value in values)
    )


def detect(values: Sequence[int]) -> str | None:
    """Return the encoding of the `values` that a control sent while it was turned.

    Returns:
        One of `ENCODINGS`, `AUTO` if they fit several, None if it sends positions: those change
        with every message and pass through many values, while steps repeat.
    """
    repeats = sum(a == b for a, b in pairwise(values))
    fitting = plausible(values)
    if len(values) < LEAST_MESSAGES or not fitting or repeats < len(values) / 4:
        return None
    if set(values) <= {0, 127} or set(values) == {64}:
        return None  # A button, and a knob at its centre.
    return fitting[0] if len(fitting) == 1 else AUTO


class StepDecoder:
    """Steps of one encoder; with `AUTO` it finds the encoding in what it is sent.

    Turned one way only, two encodings may fit: then the more common one is taken until the knob is
    turned back.
    """

    def __init__(self, encoding: str) -> None:
        self._encodings: tuple[str, ...] = ENCODINGS if encoding == AUTO else (encoding,)

    def steps(self, value: int) -> int:
        """Return the steps that the 7-bit `value` stands for."""
        if len(self._encodings) > 1:
            fitting = [e for e in self._encodings if e in plausible([value])]
            self._encodings = tuple(fitting) or self._encodings
        return decode(value, self._encodings[0])
