"""Queue between two threads that drops the oldest item when it is full; the writer never waits."""

from collections import deque
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class DroppingQueue(Generic[T]):
    """Hold up to `capacity` items; when it is full the oldest is dropped and counted."""

    def __init__(self, capacity: int = 1) -> None:
        self.dropped = 0
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = Condition()
        self._closed = False

    def put(self, item: T) -> None:
        """Add the newest item; never waits for a reader."""
        with self._changed:
            if len(self._items) == self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify()

    def get(self, timeout_s: float | None = None) -> T | None:
        """Return the oldest item; None if there is none in time, or the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed, timeout_s)
            return self._items.popleft() if self._items else None

    def clear(self) -> None:
        """Forget all items."""
        with self._changed:
            self._items.clear()

    def close(self) -> None:
        """Wake all readers; items that are still in the queue can be read."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed
