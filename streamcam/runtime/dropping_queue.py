"""Frames from one thread to another: the newest win, the writer never waits."""

from collections import deque
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class DroppingQueue(Generic[T]):
    """Holds up to `capacity` things; when it is full the oldest is dropped and counted."""

    def __init__(self, capacity: int = 1) -> None:
        self.dropped = 0
        self._things: deque[T] = deque()
        self._capacity = capacity
        self._changed = Condition()
        self._closed = False

    def put(self, thing: T) -> None:
        """Add the newest; never waits for a reader."""
        with self._changed:
            if len(self._things) == self._capacity:
                self._things.popleft()
                self.dropped += 1
            self._things.append(thing)
            self._changed.notify()

    def get(self, timeout_s: float | None = None) -> T | None:
        """Return the oldest one held; None when there is none in time, or the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._things or self._closed, timeout_s)
            return self._things.popleft() if self._things else None

    def close(self) -> None:
        """Wake whoever waits; what is held can still be had."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed
