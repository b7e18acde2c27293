"""Choose how large the model's image may be, by the time that it takes for a frame."""

from collections import deque
from collections.abc import Sequence

from streamcam.geometry import Size

SPARE = 0.8
"""Share of a frame's period that a larger size may be expected to take: what runs beside the model
needs time as well, and a scene may cost more than this one."""
EXPONENT = 1.1
"""Time grows by this power of the number of pixels: what fits in a cache no longer does."""
SECONDS = 5
"""All of so many seconds in a row must agree on a change."""


class SizeChoice:
    """The size in use, and a larger or smaller one where the last seconds ask for it.

    A size that was too slow, or failed, is not tried again.

    Args:
        sizes: (width, height), the smallest first; at least one.
        size: in use, one of them.
        too_large: the smallest that is known to be too slow; None if none is.
    """

    def __init__(self, sizes: Sequence[Size], size: Size, too_large: Size | None = None) -> None:
        self.sizes = tuple(sizes)
        self.size = size
        self.too_large = too_large
        self._recent: deque[float] = deque(maxlen=SECONDS)

    def forget(self) -> None:
        """Begin to measure again."""
        self._recent.clear()

    def begin(self, size: Size) -> None:
        """Measure at `size` from now on."""
        self.size = size
        self._recent.clear()

    def stay(self) -> None:
        """Never choose a larger size again."""
        if larger := self._larger():
            self.too_large = larger[0]

    def refuse(self, size: Size) -> None:
        """Never choose `size` again, nor a larger one."""
        if self.too_large is None or _pixels(size) < _pixels(self.too_large):
            self.too_large = size

    def next(self, seconds: float, period: float) -> Size | None:
        """Return the size to change to; None to stay.

        Args:
            seconds: that the model took for a frame, over the last second.
            period: seconds for a frame that it may take at most.
        """
        self._recent.append(seconds)
        if len(self._recent) < SECONDS:
            return None
        smaller = [s for s in self.sizes if _pixels(s) < _pixels(self.size)]
        if smaller and min(self._recent) > period:
            self.refuse(self.size)
            return self._largest(smaller, period) or smaller[0]
        return self._largest(self._larger(), period)

    def _larger(self) -> list[Size]:
        limit = float("inf") if self.too_large is None else _pixels(self.too_large)
        return [s for s in self.sizes if _pixels(self.size) < _pixels(s) < limit]

    def _largest(self, sizes: Sequence[Size], period: float) -> Size | None:
        """Return the largest of `sizes` that may be expected to be fast enough."""
        slowest = max(self._recent)
        fast = [s for s in sizes if self._expected(slowest, s) <= SPARE * period]
        return fast[-1] if fast else None

    def _expected(self, seconds: float, size: Size) -> float:
        return float(seconds * (_pixels(size) / _pixels(self.size)) ** EXPONENT)


def _pixels(size: Size) -> int:
    return size[0] * size[1]
