"""Limit on how often something may come from the other side."""

from streamcam.runtime.remote.wire import WireError


class RateLimit:
    """Counts how often something comes.

    Args:
        most: times in a second that are allowed.
        what: name of the thing, in the plural.
    """

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self._second, self._count = 0.0, 0

    def count(self, now: float) -> None:
        """Count one more at the time `now`, in seconds.

        Raises:
            WireError: so many come from nobody who means well.
        """
        if now - self._second >= 1:
            self._second, self._count = now, 0
        self._count += 1
        if self._count > self._most:
            raise WireError(f"more than {self._most} {self._what} a second came")
