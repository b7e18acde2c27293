"""Tap tempo: the tempo of a hand that taps along."""

from collections import deque
from itertools import pairwise
from statistics import fmean, median

from streamcam.control.tempo.beat_grid import MAX_BPM, MIN_BPM

MAX_TAPS = 9
PAUSE_S = 60 / MIN_BPM
"""A longer pause begins a new count."""
OUTLIER = 0.3
"""Share by which an interval may differ from the median before it is left out."""


class TapTempo:
    """Tempo of the last taps: the mean of the intervals that are near their median.

    So one tap that is missed, or one too many, does not change the tempo. Two intervals in a
    row that agree with each other, and not with those before them, are a new tempo.
    """

    def __init__(self) -> None:
        self._taps: deque[float] = deque(maxlen=MAX_TAPS)

    def tap(self, time: float) -> float | None:
        """Take a tap at a monotonic time; return the tempo in bpm, None until it is known."""
        last = self._taps[-1] if self._taps else None
        if last is not None and not 0 <= time - last <= PAUSE_S:
            self._taps.clear()
        elif last is not None and time - last < 60 / MAX_BPM:
            return None  # A bouncing button.
        self._taps.append(time)
        intervals = self._intervals()
        if len(intervals) >= 3 and self._has_changed(intervals):
            self._taps = deque(list(self._taps)[-3:], maxlen=MAX_TAPS)
            intervals = self._intervals()
        if not intervals:
            return None
        middle = median(intervals)
        return 60 / fmean(s for s in intervals if _near(s, middle))

    def _intervals(self) -> list[float]:
        return [after - before for before, after in pairwise(self._taps)]

    @staticmethod
    def _has_changed(intervals: list[float]) -> bool:
        *earlier, first, second = intervals
        middle = median(earlier)
        return _near(first, second) and not (_near(first, middle) or _near(second, middle))


def _near(interval: float, other: float) -> bool:
    return abs(interval - other) <= OUTLIER * other
