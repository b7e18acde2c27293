"""Capture thread: reads the source, and opens it again when it is lost."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from streamcam.pixels import oriented
from streamcam.runtime.outage_log import OutageLog
from streamcam.settings.parameters import Parameters
from streamcam.stats import Rate
from streamcam.system.backoff import Backoff
from streamcam.system.supervised_thread import SupervisedThread
from streamcam.types import Frame, LiveSource

log = logging.getLogger(__name__)

SILENCE_S = 1.8
"""Seconds without a frame after which a source counts as lost, whatever it reports."""


class Capture:
    """Read `source` in a thread; pass every frame on, upright and numbered without gaps.

    Args:
        source: opened and read in the thread, and again after an error.
        parameters: returns the newest snapshot, for `rotate` and `mirror`.
        on_frame: called in the thread with every frame.
    """

    def __init__(
        self,
        source: LiveSource,
        parameters: Callable[[], Parameters],
        on_frame: Callable[[Frame], None],
    ) -> None:
        self.newest: Frame | None = None
        self.rate = Rate()
        self.ended = threading.Event()
        """Set when the source has come to its end."""
        self._source = source
        self._parameters = parameters
        self._on_frame = on_frame
        self._count = 0
        self._outages = OutageLog(
            log, failed="", bug="the source failed", back="the source is back"
        )
        self._stopping = threading.Event()
        # A bug in reading one frame is no reason to go off air.
        self._thread = SupervisedThread(
            "capture",
            self._run,
            self._stopping,
            on_error=self._outages.failed,
            backoff=Backoff(longest=2.0),
        )

    def start(self) -> None:
        """Start reading; returns at once."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Ask the source to end soon; returns at once."""
        self._stopping.set()
        with suppress(Exception):  # A bug in it must not keep the rest from ending in order.
            self._source.stop()

    def join(self, timeout_s: float) -> None:
        """Wait until the source is closed, `timeout_s` at most."""
        self._thread.join(timeout_s)

    def problem(self, now: float) -> str | None:
        """Return why no frames are coming, in one line; None while they come."""
        problem = self._outages.problem
        if problem is None and self.newest is not None and not self.ended.is_set():
            silence = now - self.newest.captured_at
            if silence > max(SILENCE_S, 3 / float(self._source.rate)):
                return f"no frame for {silence:.0f} s"
        return problem

    def _run(self) -> None:
        """Read the source until it ends or `ask_to_stop` is called."""
        with self._source as source:
            self._read(source)
        if not self._stopping.is_set():
            self.ended.set()

    def _read(self, source: LiveSource) -> None:
        for frame in source:
            if self._stopping.is_set():
                return
            parameters = self._parameters()
            image = oriented(frame.image, parameters.rotate, mirror=parameters.mirror)
            self.newest = replace(frame, image=image, index=self._count)
            self._outages.works()
            self._count += 1
            self.rate.tick(frame.captured_at)
            self._on_frame(self.newest)
