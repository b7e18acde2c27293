"""OSC time tags: when a bundle is to be applied, and the bundles that wait for their time."""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Generic, TypeVar

from streamcam.control.osc.packets import IMMEDIATELY
from streamcam.errors import ParameterError

MAX_AHEAD_S = 10.0
"""Seconds that a bundle may be stamped ahead."""
MAX_WAITING = 512
"""Bundles that wait for their time."""
MAX_WAITING_OF_HOST = 128

UNIX_EPOCH = 2_208_988_800
"""Seconds of NTP time, which begins in 1900, at the beginning of 1970."""
ERA_S = 2**32
"""Seconds after which NTP time begins again, the first time in 2036."""
Item = TypeVar("Item")


def seconds_ahead(time_tag: int, now: float) -> float:
    """Return how far `time_tag` is ahead of `now`, seconds since 1970; 0 for "immediately".

    A time that is over is negative.
    """
    if time_tag <= IMMEDIATELY:
        return 0.0
    seconds, fraction = divmod(time_tag, 2**32)
    ahead = (seconds - UNIX_EPOCH - now) + fraction / 2**32
    # In whichever era is nearest, since the tag does not say.
    return (ahead + ERA_S / 2) % ERA_S - ERA_S / 2


class TimedQueue(Generic[Item]):
    """Items that wait for their time; of equal times, in the order in which they came."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str, Item]] = []
        self._number = itertools.count()
        self._counts: Counter[str] = Counter()

    def put(self, due: float, host: str, item: Item) -> None:
        """Let `item` of a host wait until `due`.

        Raises:
            ParameterError: too many wait already.
        """
        if self._counts[host] >= MAX_WAITING_OF_HOST or len(self._heap) >= MAX_WAITING:
            raise ParameterError(
                f"{self._counts[host]} bundles of {host} wait for their time, of"
                f" {len(self._heap)} in all; send fewer ahead"
            )
        heapq.heappush(self._heap, (due, next(self._number), host, item))
        self._counts[host] += 1

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next is due; infinite if none waits."""
        return max(0.0, self._heap[0][0] - now) if self._heap else float("inf")

    def due(self, now: float) -> Iterator[Item]:
        """Yield those that are due, which wait no longer."""
        while self._heap and self._heap[0][0] <= now:
            _, _, host, item = heapq.heappop(self._heap)
            self._counts[host] -= 1
            if not self._counts[host]:
                del self._counts[host]
            yield item
