"""Progress of a build as one line: what is built, the step that it is at, and the seconds gone."""

import threading
import time
from collections.abc import Callable
from typing import Protocol, Self, runtime_checkable

from streamcam.errors import StreamcamError
from streamcam.system.supervised_thread import SupervisedThread

Report = Callable[[str], None]

INTERVAL_S = 1.0
LOG_INTERVAL_S = 30.0
"""Between two lines of progress in a log, where they stay."""


class ProgressLine(str):
    """A line that takes the place of the one before it, where that can be shown."""

    __slots__ = ()


@runtime_checkable
class ReportsSteps(Protocol):
    """An engine that reports the step of a build that it is at, in a few words."""

    on_step: Report


class BuildProgress:
    """Reports a `ProgressLine` every `interval_s` seconds, from a thread, until the build is over.

    Args:
        task: what is built.
        report: takes the lines.
        interval_s: seconds between two lines.
    """

    def __init__(self, task: str, report: Report, interval_s: float = INTERVAL_S) -> None:
        self._task = task
        self._report = report
        self._interval_s = interval_s
        self._step = "starting"
        self._started_at = time.monotonic()
        self._over = threading.Event()
        self._thread = SupervisedThread("build progress", self._loop, self._over)

    def step(self, words: str) -> None:
        """Set the step that the next line names."""
        self._step = words

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except StreamcamError as error:
            self._report(f"no progress is shown: {error}")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _loop(self) -> None:
        while not self._over.wait(self._interval_s):
            seconds = time.monotonic() - self._started_at
            self._report(ProgressLine(f"{self._task}: {self._step}, {seconds:.0f} s"))


class ThrottledProgress:
    """A report for logs: passes on every line, but progress only where nothing else came for long.

    Args:
        report: takes the lines.
        interval_s: seconds without a line before one of progress is passed on.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        report: Report,
        interval_s: float = LOG_INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._interval_s = interval_s
        self._clock = clock
        self._reported_at = clock()

    def __call__(self, line: str) -> None:
        """Pass on `line`, unless it is progress that comes too early."""
        now = self._clock()
        if isinstance(line, ProgressLine) and now - self._reported_at < self._interval_s:
            return
        self._reported_at = now
        self._report(str(line))
