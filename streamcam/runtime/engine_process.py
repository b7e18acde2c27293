"""The engine as the broadcast process sees it: started, fed, watched, and started again."""

import logging
import multiprocessing
import signal
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable
from math import prod
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np
from numpy.typing import NDArray

from streamcam.errors import EngineError, StreamcamError
from streamcam.pixels import fitted, size_in_bytes
from streamcam.runtime.backoff import Backoff
from streamcam.runtime.frame_ring import MAX_NOTE, FrameRing
from streamcam.runtime.gpu_stats import expects_card
from streamcam.runtime.worker import BEAT, DROPPED, SKIPPED, TAKEN, EngineMessage, serve
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Bytes, Frame

log = logging.getLogger(__name__)

LOADING, RUNNING, LOST, STOPPED = "loading", "running", "lost", "stopped"
LOADING_DEADLINE_S = 180.0
"""Importing torch from a slow disk may hold up even the thread that shows signs of life."""
KILL_S = 1.0
WATCH_S = 0.05
COUNTED = (TAKEN, DROPPED, SKIPPED)


class EngineProcess:
    """Keeps one engine process going, and hands frames to it and pictures back.

    `offer` is for one thread, `pictures` for another; neither ever waits.
    """

    def __init__(self, config: Config, fatal: Callable[[StreamcamError], None]) -> None:
        self.state = LOADING
        self.detail = f"loading {config.model}"
        """What goes on, in a few words for a slate."""
        self.restarts = 0
        self.schedule = ""
        """What a video stream last told of its schedule."""
        self.applied_parameters = (0, config.live)
        self._config = config
        self._fatal = fatal
        self._whole = False
        """Whether the engine fits frames itself, on its device."""
        self._frames, self._pictures = _rings(config)
        # Even where it is never started, nothing is left in shared memory.
        self._free = weakref.finalize(self, _free, self._frames, self._pictures)
        self._final: NDArray[np.int64] | None = None
        self._before: Counter[int] = Counter()
        self._version = 1
        self._note = _note(config.live)
        self._stopping = threading.Event()
        self._calls: deque[float] = deque([0.0], maxlen=100)
        self._thread = threading.Thread(target=self._keep, name="engine", daemon=True)

    def start(self) -> None:
        """Start the engine process; returns at once."""
        self._thread.start()

    def offer(self, frame: Frame, parameters: Parameters) -> None:
        """Give the engine a frame and the snapshot that rules it; older ones make way."""
        if parameters is not self.applied_parameters[1]:
            self._note = _note(parameters)
            self._version += 1
            self.applied_parameters = (frame.index, parameters)
        config = self._config
        image = frame.image
        if not (self._whole and self._frames.takes(image)):
            image = fitted(image, config.width, config.height, config.fit)
        self._frames.put(
            image, frame.index, frame.captured_at, version=self._version, note=self._note
        )

    def pictures(self) -> list[Frame]:
        """Return the pictures that have come since the last call, oldest first."""
        messages = self._pictures.take()
        if self.state != RUNNING:
            return []  # From an engine that is gone.
        return [Frame(m.image, m.index, m.captured_at, _packed(m.note)) for m in messages]

    @property
    def taken(self) -> int:
        """Frames that engines have taken."""
        return self._total(TAKEN)

    @property
    def dropped(self) -> int:
        """Frames that newer ones overtook before a running engine came for them."""
        return self._total(DROPPED)

    @property
    def skipped(self) -> int:
        """Frames that the similarity filter left out."""
        return self._total(SKIPPED)

    def stop(self) -> None:
        """End the engine process, by force if need be, and free the shared memory."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.state, self._final = STOPPED, self._pictures.cells.copy()
        self._free()

    def _total(self, cell: int) -> int:
        """Return a count over this engine and those before it."""
        return self._before[cell] + self._cell(cell)

    def _cell(self, cell: int) -> int:
        return int((self._pictures.cells if self._final is None else self._final)[cell])

    # ---- the thread that keeps it going

    def _keep(self) -> None:
        # The engine inherits this: Ctrl-C is for the broadcast process, which ends it in order.
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        backoff = Backoff()
        while not self._stopping.is_set():
            began = time.monotonic()
            loss = self._life()
            if self._stopping.is_set():
                return
            was_running = self.state == RUNNING
            self.state, self.detail = LOST, "the engine is being restarted"
            if isinstance(loss, StreamcamError) and not was_running and not self.restarts:
                # It never ran: this is for the user to mend, not for another try.
                self._fatal(loss)
                return
            pause = backoff.next(healthy_s=time.monotonic() - began if was_running else 0.0)
            log.warning("%s; starting another engine in %.1f s", loss, pause)
            self._stopping.wait(pause)
            self.restarts += 1

    def _life(self) -> StreamcamError | str:
        """Run one engine process from its start to its end; return what ended it."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve,
            args=(self._config, self._frames, self._pictures, theirs),
            name="streamcam-engine",
            daemon=True,
        )
        try:
            process.start()
        except OSError as error:
            ours.close()
            theirs.close()
            return f"the engine cannot be started: {error.strerror}"
        theirs.close()
        try:
            return self._watch(process, ours)
        finally:
            ours.close()
            process.kill()
            process.join(KILL_S)
            if process.exitcode is None:
                # In the kernel's hands: it holds a device that does not answer.
                log.warning("engine process %s cannot be ended", process.pid)

    def _watch(self, process: BaseProcess, line: Connection) -> StreamcamError | str:
        self._begin()
        beat, beat_at = -1, time.monotonic()
        while not self._stopping.is_set():
            try:
                while line.poll(WATCH_S):
                    if loss := self._heard(line.recv()):
                        return loss
            except (EOFError, OSError):
                process.join(1.0)
                return f"the engine has died ({_cause(process.exitcode)})"
            now = time.monotonic()
            if (newest := int(self._pictures.cells[BEAT])) != beat:
                if self.state == RUNNING:
                    self._calls.append(now - beat_at)
                beat, beat_at = newest, now
            elif now - beat_at > self._deadline():
                return f"the engine has hung for {now - beat_at:.1f} s"
        return "stopped"

    def _begin(self) -> None:
        self.state, self.detail = LOADING, f"loading {self._config.model}"
        self._whole = False
        self._calls = deque([0.0], maxlen=100)
        for cell in COUNTED:
            self._before[cell] += self._cell(cell)
            self._pictures.cells[cell] = 0

    def _deadline(self) -> float:
        """Return the seconds without a sign of life that are too many."""
        if self.state != RUNNING:
            return max(LOADING_DEADLINE_S, self._config.broadcast.engine_deadline)
        return max(self._config.broadcast.engine_deadline, 5 * max(self._calls))

    def _heard(self, said: EngineMessage) -> StreamcamError | str | None:
        if said.kind == "line":
            log.info(said.text)
            self.detail = said.text
        elif said.kind == "schedule":
            self.schedule = said.text
        elif said.kind == "ready":
            self._calls.append(said.seconds)
            self._whole = said.whole
            self.state, self.detail = RUNNING, ""
            log.info("the engine is running")
        elif said.kind == "failed":
            error = EngineError(said.text)
            error.exit_code = said.exit_code
            return error
        else:
            return f"the engine has crashed:\n{said.text}"
        return None


def _rings(config: Config) -> tuple[FrameRing, FrameRing]:
    """Return the way to the engine and back, with room for all that a device does by itself."""
    inside, back = (config.width, config.height), (config.width, config.height)
    packed = 0
    if config.pipeline == "image" and expects_card(config.device):
        broadcast = config.broadcast
        inside = max(inside, broadcast.camera_size, key=prod)
        back = max(back, broadcast.canvas, key=prod)
        packed = size_in_bytes(broadcast.pixel_format, broadcast.canvas)
    return (
        FrameRing((inside[1], inside[0], 3), capacity=config.waiting),
        FrameRing((back[1], back[0], 3), capacity=config.burst, note=packed),
    )


def _free(*rings: FrameRing) -> None:
    for ring in rings:
        ring.close(unlink=True)


def _packed(note: bytes) -> Bytes | None:
    return np.frombuffer(note, np.uint8) if note else None


def _note(parameters: Parameters) -> bytes:
    note = parameters.model_dump_json().encode()
    assert len(note) <= MAX_NOTE, f"a snapshot of {len(note)} bytes"
    return note


def _cause(exitcode: int | None) -> str:
    if exitcode is None:
        return "no exit status"
    return f"signal {-exitcode}" if exitcode < 0 else f"exit status {exitcode}"
