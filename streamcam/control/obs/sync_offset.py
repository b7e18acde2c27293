"""Sync offset of an audio source that follows the measured latency, in few and small steps."""

from collections import deque
from statistics import median

IGNORED_MS = 15.0
"""Changes that nobody hears."""
PERIOD_S = 3.0
"""Seconds between two changes: OBS drops or repeats some sound at each."""
RECENT = 5
"""Measurements whose median counts, so that a single one moves nothing."""
LEAST_FIRST = 3
"""Measurements before the offset is set for the first time."""
LOWEST_MS, HIGHEST_MS = -950, 20_000
"""Limits of OBS."""


class SyncOffset:
    """The offset to set, in whole milliseconds.

    Args:
        extra_ms: added to every latency.
    """

    def __init__(self, extra_ms: float = 0.0) -> None:
        self.current: int | None = None
        """Offset that was set last, None before the first."""
        self._extra_ms = extra_ms
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._next_at = float("-inf")

    def next(self, latency_s: float, now: float) -> int | None:
        """Return the offset to set now, None to leave it.

        A large change is made in steps, each half of the way.

        Args:
            latency_s: newest measurement, in seconds.
            now: monotonic seconds.
        """
        self._recent.append(latency_s * 1000)
        wanted = min(max(median(self._recent) + self._extra_ms, LOWEST_MS), HIGHEST_MS)
        if self.current is None:
            if len(self._recent) < LEAST_FIRST:
                return None
            return self._set(wanted, now)
        difference = wanted - self.current
        if abs(difference) < IGNORED_MS or now < self._next_at:
            return None
        step = difference if abs(difference) < 4 * IGNORED_MS else difference / 2
        return self._set(self.current + step, now)

    def _set(self, offset_ms: float, now: float) -> int:
        self.current = round(offset_ms)
        self._next_at = now + PERIOD_S
        return self.current
