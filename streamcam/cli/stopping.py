"""Ctrl-C and SIGTERM, heeded between frames, so that no file is left in the middle of a write."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue


class Asked:
    """Whether one was asked to stop.

    A `threading.Event` does not do: set by a handler that interrupts its own `wait`, it waits
    for the lock that is held there, for good. A `SimpleQueue` may be put to at any time.
    """

    def __init__(self) -> None:
        self._once = False
        self._wake: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        self._once = True
        self._wake.put(None)

    def is_set(self) -> bool:
        return self._once

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is set, but no longer than `timeout_s`; return whether it is."""
        if not self._once:
            with suppress(Empty):
                self._wake.get(timeout=timeout_s)
        return self._once


@contextmanager
def stopping() -> Iterator[Asked]:
    """Give what the first signal sets; a second one interrupts at once."""
    asked = Asked()
    # What is ignored stays ignored: a shell that puts a job in the background asks for that.
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(_signal: int, _frame: object) -> None:
        restore()
        asked.set()

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        restore()
