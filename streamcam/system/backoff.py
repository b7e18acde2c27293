"""Growing pauses between tries of something that fails."""

HEALTHY_S = 30.0
"""Seconds without a failure after which the pauses start small again."""


class Backoff:
    """Pauses that double from `first` to `longest` seconds, and start over after a healthy run."""

    def __init__(self, first: float = 0.25, longest: float = 10.0) -> None:
        self._first, self._longest = first, longest
        self._pause = first

    def next(self, *, healthy_s: float = 0.0) -> float:
        """Return the seconds to wait now, after the last try lasted for `healthy_s` seconds."""
        if healthy_s >= HEALTHY_S:
            self._pause = self._first
        pause, self._pause = self._pause, min(2 * self._pause, self._longest)
        return pause
