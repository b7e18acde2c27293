"""Ctrl-C and SIGTERM as a request that is checked between frames, so that no write is cut short."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue


class StopRequest:
    """A flag that a signal handler may set at any moment.

    A `threading.Event` would deadlock: set by a handler that interrupts its own `wait`, it waits
    for the lock that is held there. `SimpleQueue.put` is reentrant.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._wakeups: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Request the stop, and end a `wait` that is in progress."""
        self._is_set = True
        self._wakeups.put(None)

    def is_set(self) -> bool:
        """Return whether the stop was requested."""
        return self._is_set

    def wait(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds for the request; return whether it was made."""
        if not self._is_set:
            with suppress(Empty):
                self._wakeups.get(timeout=timeout_s)
        return self._is_set


@contextmanager
def stopping() -> Iterator[StopRequest]:
    """Yield a `StopRequest` that the first signal sets; a second signal interrupts at once."""
    stop = StopRequest()
    # Ignored signals stay ignored: a shell does that to jobs in the background.
    handlers = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def request_stop(_signal: int, _frame: object) -> None:
        restore()
        stop.set()

    for number in handlers:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        restore()
