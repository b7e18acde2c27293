"""OSC time tags: when a bundle is to be applied, and the bundles that wait for their time."""

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from streamcam.control.messages import Message
from streamcam.control.osc.packets import IMMEDIATELY, Part
from streamcam.control.osc.sockets import Peer
from streamcam.control.surface import ControlSurface
from streamcam.control.tempo.lead_time import LeadTime
from streamcam.errors import ParameterError
from streamcam.stats import Status

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
Bundle = tuple[list[Message], Peer]


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


class TimedBundles(TimedQueue[Bundle]):
    """Bundles that wait, so that what they change is seen at the time that they are stamped with.

    Args:
        surface: knows what their addresses change.
        status: returns the figures of the broadcast, for the latency.
    """

    def __init__(self, surface: ControlSurface, status: Callable[[], Status]) -> None:
        super().__init__()
        settings = surface.config.broadcast
        self._honoured = settings.osc_time_tags
        self._addresses = surface.addresses
        self._panic = f"{surface.prefix}/panic"
        self._lead = LeadTime(status, float(settings.rate))

    def split(self, part: Part) -> tuple[list[Message], list[Message]]:
        """Return the messages of a part that are to be handled now, and those that wait."""
        if not self._honoured or seconds_ahead(part.time_tag, time.time()) <= 0:
            return part.messages, []
        urgent = [message for message in part.messages if message.address == self._panic]
        return urgent, [message for message in part.messages if message.address != self._panic]

    def hold(self, messages: list[Message], time_tag: int, peer: Peer) -> None:
        """Let `messages` wait until shortly before their time.

        Raises:
            ParameterError: it is too far ahead, or too many wait.
        """
        ahead_s = seconds_ahead(time_tag, time.time())
        if ahead_s > MAX_AHEAD_S:
            raise ParameterError(
                f"is stamped {ahead_s:.1f} s ahead, and at most {MAX_AHEAD_S:g} s are allowed:"
                " set the sender's clock, or start streamcam with --set osc_time_tags=false"
            )
        due = time.monotonic() + ahead_s - self._lead_s(messages)
        self.put(due, peer[0], (messages, peer))

    def _lead_s(self, messages: list[Message]) -> float:
        """Return how much earlier than they are to be seen `messages` are applied."""
        entries = [self._addresses.find(message.address) for message in messages]
        on_output = all(entry and entry[1].on_output for entry in entries)
        return self._lead.output_s if on_output else self._lead.model_s()
