"""How long to wait before trying again."""

HEALTHY_S = 30.0


class Backoff:
    """Pauses that double from `first` to `most` seconds, and begin anew after good times."""

    def __init__(self, first: float = 0.25, most: float = 10.0) -> None:
        self._first, self._most = first, most
        self._pause = first

    def next(self, *, healthy_s: float = 0.0) -> float:
        """Return the seconds to wait now, after the last try held for `healthy_s`."""
        if healthy_s >= HEALTHY_S:
            self._pause = self._first
        pause, self._pause = self._pause, min(2 * self._pause, self._most)
        return pause
