"""Ctrl-C and SIGTERM, heeded between frames, so that no file is left in the middle of a write."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event


@contextmanager
def stopping() -> Iterator[Event]:
    """Give the event that the first signal sets; a second one interrupts at once."""
    asked = Event()
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
