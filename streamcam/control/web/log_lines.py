"""Newest lines of the log, kept for the page."""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import Any

from streamcam.errors import one_line, printable
from streamcam.limits import LogRateFilter
from streamcam.redaction import redacted

MAX_LINES = 200
MAX_CHARACTERS = 500


class LogLines(logging.Handler):
    """Log handler that keeps the newest lines, without secrets; it neither waits nor raises.

    Args:
        on_line: called after each line, from the thread that logs.
    """

    def __init__(self, on_line: Callable[[], None]) -> None:
        super().__init__()
        self.count = 0
        """Lines so far, those that are no longer kept too."""
        self._on_line = on_line
        self._lines: deque[tuple[int, dict[str, Any]]] = deque(maxlen=MAX_LINES)
        self.addFilter(LogRateFilter())

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep the line of `record` unless a filter drops it; return whether it was kept."""
        if _is_unheard(record, self):
            assert logging.lastResort
            logging.lastResort.handle(record)
        # A logger hands on what its handlers raise, into the threads that keep a show on air.
        with suppress(Exception):
            # A copy: the filter writes into it how many lines were left out here.
            return bool(super().handle(copy(record)))
        return False

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1]:
            text = f"{text}: {one_line(record.exc_info[1])}"
        line = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "text": printable(redacted(text))[:MAX_CHARACTERS],
        }
        self.count += 1
        self._lines.append((self.count, line))
        self._on_line()

    def since(self, count: int) -> list[dict[str, Any]]:
        """Return the lines that are kept of those after the first `count`."""
        return [line for number, line in tuple(self._lines) if number > count]


def _is_unheard(record: logging.LogRecord, handler: logging.Handler) -> bool:
    """Return whether no handler but `handler` takes `record`, so that Python would print it."""
    last = logging.lastResort
    if last is None or record.levelno < last.level:
        return False
    logger: logging.Logger | None = logging.getLogger(record.name)
    while logger:
        if any(other is not handler for other in logger.handlers):
            return False
        logger = logger.parent if logger.propagate else None
    return True
