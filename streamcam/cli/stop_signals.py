"""Signals as a request to stop that is checked between frames, so that no write is cut short."""

import signal
from collections.abc import Iterable, Iterator
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


INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
HANGUP = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()
"""A terminal that is closed sends it, twice at times: from the shell and from the system."""


@contextmanager
def stopping() -> Iterator[StopRequest]:
    """Yield a `StopRequest` that a signal sets; a second Ctrl-C or SIGTERM interrupts at once."""
    stop = StopRequest()
    # Ignored signals stay ignored: a shell does that to jobs in the background, and nohup.
    handlers = {
        number: handler
        for number in (*INTERRUPTS, *HANGUP)
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }

    def restore(numbers: Iterable[int]) -> None:
        for number in numbers:
            if number in handlers:
                signal.signal(number, handlers[number])

    def request_stop(number: int, _frame: object) -> None:
        if number in INTERRUPTS:
            restore(INTERRUPTS)
        stop.set()

    for number in handlers:
        signal.signal(number, request_stop)
    try:
        yield stop
    finally:
        restore(handlers)
