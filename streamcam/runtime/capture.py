"""Capture thread: reads the source, and opens it again when it is lost."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from streamcam.backoff import Backoff
from streamcam.errors import StreamcamError
from streamcam.pixels import oriented
from streamcam.settings.parameters import Parameters
from streamcam.stats import Rate
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
        self._problem: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="capture", daemon=True)

    def start(self) -> None:
        """Start reading; returns at once."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Ask the source to end soon; returns at once."""
        self._stopping.set()
        self._source.stop()

    def join(self, timeout_s: float) -> None:
        """Wait until the source is closed, `timeout_s` at most."""
        self._thread.join(timeout_s)

    def problem(self, now: float) -> str | None:
        """Return why no frames are coming, in one line; None while they come."""
        if self._problem is None and self.newest is not None and not self.ended.is_set():
            silence = now - self.newest.captured_at
            if silence > max(SILENCE_S, 3 / float(self._source.rate)):
                return f"no frame for {silence:.0f} s"
        return self._problem

    def _supervise(self) -> None:
        """Read the source until it ends or `ask_to_stop` is called; open it again after errors."""
        backoff = Backoff(longest=2.0)
        while not self._stopping.is_set():
            started_at = time.monotonic()
            try:
                with self._source as source:
                    self._read(source)
                if not self._stopping.is_set():
                    self.ended.set()
                return
            except StreamcamError as error:
                if self._problem != str(error):
                    log.warning("%s; trying again", error)
                self._problem = str(error)
            except Exception:
                # A bug in reading one frame is no reason to go off air.
                log.exception("the source failed; trying again")
                self._problem = "the source failed"
            self._stopping.wait(backoff.next(healthy_s=time.monotonic() - started_at))

    def _read(self, source: LiveSource) -> None:
        for frame in source:
            if self._stopping.is_set():
                return
            if self._problem is not None:
                log.info("the source is back")
                self._problem = None
            parameters = self._parameters()
            image = oriented(frame.image, parameters.rotate, mirror=parameters.mirror)
            self.newest = replace(frame, image=image, index=self._count)
            self._count += 1
            self.rate.tick(frame.captured_at)
            self._on_frame(self.newest)
