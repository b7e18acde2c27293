"""Log of something that fails and comes back: a line for each, however often it does so."""

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress

from streamcam.errors import StreamcamError

STEADY_S = 10.0
"""Seconds after which something that was back, and fails again, is worth a line again."""


class OutageLog:
    """Log failures and their ends; one that comes and goes is logged again only once it has ended.

    Args:
        log: takes the lines.
        failed: begins the line about a failure: "recorder: ".
        bug: says that it failed where nothing foresaw that; the log then has the traceback.
        back: the line when it works again.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        log: logging.Logger,
        *,
        failed: str,
        bug: str,
        back: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.problem: str | None = None
        """Reason that it does not work, in one line; None while it does."""
        self._log = log
        self._failed, self._bug, self._back = failed, bug, back
        self._clock = clock
        self._logged = ""
        self._worked_at = -STEADY_S
        self._is_flapping = False

    def failed(self, error: BaseException) -> None:
        """Note a failure; log it unless it is the one before again."""
        foreseen = isinstance(error, StreamcamError)
        problem = str(error) if foreseen else self._bug
        kind = re.sub(r"\d+", "", problem)  # Of two that differ in a number, one is enough.
        is_new = kind != self._logged
        if self.problem is None:
            self._is_flapping = not is_new and self._clock() - self._worked_at < STEADY_S
            is_new = not self._is_flapping
        self.problem, self._logged = problem, kind
        if is_new:
            self._is_flapping = False
            level, trace = (logging.WARNING, None) if foreseen else (logging.ERROR, error)
            self._write(level, f"{self._failed}{problem}; trying again", trace)

    def works(self) -> None:
        """Note that it works; log that if it has failed before, and stays."""
        if self.problem is not None:
            self.problem, self._worked_at = None, self._clock()
            if not self._is_flapping:
                self._write(logging.INFO, self._back)
        elif self._is_flapping and self._clock() - self._worked_at >= STEADY_S:
            self._is_flapping = False
            self._write(logging.INFO, self._back)

    def _write(self, level: int, line: str, trace: BaseException | None = None) -> None:
        # A log handler of the user's program may raise; that must not fail what works.
        with suppress(Exception):
            self._log.log(level, "%s", line, exc_info=trace)
