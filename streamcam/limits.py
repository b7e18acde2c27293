"""Limits: rates by token buckets, lines of a log, and a fair share for every host."""

import logging
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from threading import RLock
from typing import Generic, Protocol, TypeVar

MAX_KEYS = 1024
"""Keys (hosts, say) that a limiter remembers at a time."""


class RateLimiter:
    """Token buckets, one per key: `rate` tokens per second, at most `burst` at once."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, tokens: int = 1) -> bool:
        """Take `tokens` from the bucket of `key`; return False, taking none, if it holds fewer."""
        now = self._clock()
        level, since = self._buckets.get(key, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        enough = level >= tokens
        self._buckets[key] = (level - tokens if enough else level, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        return enough


class LogRateFilter(logging.Filter):
    """Filter for a handler: a fault that repeats shall not fill the log or the disk.

    Each statement that logs may log `burst` lines at once and `rate` per second. The next of its
    lines says how many were left out before it.
    """

    def __init__(
        self, rate: float = 1.0, burst: int = 50, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._limiter = RateLimiter(rate, burst, clock)
        self._left_out: Counter[Hashable] = Counter()
        self._lock = RLock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether `record` is to be logged."""
        statement = (record.pathname, record.lineno)
        with self._lock:
            if not self._limiter.take(statement):
                self._left_out[statement] += 1
                return False
            left_out = self._left_out.pop(statement, 0)
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} more like this were left out)"
            record.args = None
        return True


class Client(Protocol):
    """A connection, stream or subscription of a host."""

    @property
    def host(self) -> str: ...

    @property
    def waiting_since(self) -> float | None:
        """Time since when we wait for it (for a request, or for it to read), None if we do not."""


C = TypeVar("C", bound=Client)
T = TypeVar("T")


def client_to_evict(clients: Iterable[C], host: str, now: float, *, patience_s: float) -> C | None:
    """Return which of `clients` has to go for a new one of `host`, where no more fit.

    Args:
        clients: all there are.
        host: of the new one.
        now: seconds, on the clock of `Client.waiting_since`.
        patience_s: seconds for which we wait for a client before it may be evicted for that.

    Returns:
        One that we have waited for, if its host has no fewer clients than `host`: of the host
        with the most, the one waited for longest. Else one of the host with the most, if that
        keeps as many as `host` then has. Else None: the new one does not fit.
    """
    clients = list(clients)
    counts = Counter(client.host for client in clients)

    def rank(client: C) -> tuple[int, float]:
        since = now if client.waiting_since is None else client.waiting_since
        return counts[client.host], now - since

    waiting = [c for c in clients if counts[c.host] >= counts[host]]
    waiting = [c for c in waiting if c.waiting_since is not None and rank(c)[1] >= patience_s]
    if waiting:
        return max(waiting, key=rank)
    largest = max(clients, key=rank, default=None)
    fair = largest is not None and counts[largest.host] >= counts[host] + 2
    return largest if fair else None


class FairQueue(Generic[T]):
    """Queues, one per host, taken from in turn; of the longest one, what is too much is dropped."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._queues: OrderedDict[str, deque[T]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, host: str, item: T) -> bool:
        """Queue `item`; return False if something had to be dropped: the longest queue's oldest."""
        queue = self._queues.setdefault(host, deque())
        queue.append(item)
        self._length += 1
        if self._length <= self._capacity:
            return True
        longest = max(self._queues, key=lambda other: len(self._queues[other]))
        self._queues[longest].popleft()
        self._length -= 1
        if not self._queues[longest]:
            del self._queues[longest]
        return False

    def take(self) -> T:
        """Return the oldest item of the host whose turn it is."""
        host, queue = self._queues.popitem(last=False)
        item = queue.popleft()
        self._length -= 1
        if queue:
            self._queues[host] = queue
        return item
