"""Thread of a sink, so that no sink can hold up the others."""

import logging
import threading
import time
from pathlib import Path
from typing import NamedTuple

from streamcam.redaction import redacted_url
from streamcam.runtime.dropping_queue import DroppingQueue
from streamcam.runtime.outage_log import OutageLog
from streamcam.stats import Latencies, Rate, SinkState
from streamcam.system.backoff import Backoff
from streamcam.system.supervised_thread import SupervisedThread
from streamcam.types import Frame, PageSink, RecorderSink, SavingSink, Sink

log = logging.getLogger(__name__)

QUEUE = 4
"""Frames that a sink may be behind before the oldest is dropped."""


class OutgoingFrame(NamedTuple):
    """Frame for the sinks."""

    frame: Frame
    fresh: bool
    """Whether it goes out for the first time: only then its age is a latency."""


class SinkThread:
    """Open one sink and send to it; when that fails, log it and try again."""

    def __init__(self, name: str, sink: Sink, backoff: Backoff | None = None) -> None:
        self.name = name
        self.latencies = Latencies()
        self.rate = Rate()
        self.settled = threading.Event()
        """Set once the sink has taken its first frame, or has failed."""
        self._sink = sink
        self._open = False
        self._slot: DroppingQueue[OutgoingFrame] = DroppingQueue(QUEUE)
        self._stopping = threading.Event()
        self._outages = OutageLog(log, failed=f"{name}: ", bug="failed", back=f"{name} is back")
        self._thread = SupervisedThread(
            name,
            self._run,
            self._stopping,
            on_error=self._fail,
            backoff=backoff or Backoff(longest=5.0),
        )

    def start(self) -> None:
        """Start to open the sink and send to it; returns at once."""
        self._thread.start()

    def put(self, outgoing: OutgoingFrame) -> None:
        """Queue the next frame; never waits. It is lost while the sink is not open."""
        if self._open:
            self._slot.put(outgoing)

    def ask_to_stop(self) -> None:
        """Ask for the sink to be closed once the queue is sent; returns at once."""
        self._stopping.set()
        self._slot.close()

    def join(self, timeout_s: float) -> None:
        """Wait until the sink is closed, `timeout_s` at most."""
        self._thread.join(timeout_s)

    @property
    def problem(self) -> str | None:
        """Reason that the sink takes no frames; None from the first one on that it has taken."""
        return self._outages.problem if self.settled.is_set() else "opening"

    @property
    def page(self) -> str | None:
        """URL of the page that the sink serves, if it does."""
        sink = self._sink
        return sink.url if isinstance(sink, PageSink) and self.problem is None else None

    @property
    def recording(self) -> Path | None:
        """The video that the sink is writing, if it does."""
        return self._sink.recording if isinstance(self._sink, RecorderSink) else None

    @property
    def saved(self) -> Path | None:
        """The file that the sink completed last, if it saves any."""
        return self._sink.saved if isinstance(self._sink, SavingSink) else None

    @property
    def is_recorder(self) -> bool:
        return isinstance(self._sink, RecorderSink)

    @property
    def shown_name(self) -> str:
        """The name without the secrets of a URL."""
        return redacted_url(self.name)

    @property
    def state(self) -> SinkState:
        """State of the sink now."""
        fps = self.rate.per_second(time.monotonic())
        return SinkState(self.shown_name, self.problem, fps, self._slot.dropped)

    def retry(self) -> bool:
        """Open the sink again at once if it has failed; return whether it had."""
        has_failed = self.settled.is_set() and self.problem is not None
        if has_failed:
            self._thread.run_again_now()
        return has_failed

    def _run(self) -> None:
        with self._sink as sink:
            self._slot.clear()  # Of frames from before it failed.
            self._open = True
            self._send_all(sink)

    def _fail(self, error: BaseException) -> None:
        # A bug in one sink is no reason for the others to stop.
        self._open = False
        self._outages.failed(error)
        self.settled.set()

    def _send_all(self, sink: Sink) -> None:
        while True:
            outgoing = self._slot.get()
            if outgoing is None:
                return
            sink.send(outgoing.frame)
            # Not on opening: some virtual cameras can be read only from their first frame on.
            self._outages.works()
            if not self.settled.is_set():
                self.settled.set()
            now = time.monotonic()
            self.rate.tick(now)
            if outgoing.fresh:
                self.latencies.add(now - outgoing.frame.captured_at)
