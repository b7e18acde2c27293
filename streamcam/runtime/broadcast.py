"""On air: the process that viewers depend on. Source, engine and sinks meet here, and may fail."""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Self

from streamcam.control.state import Control
from streamcam.errors import StreamcamError
from streamcam.runtime.auto_settings import PASSTHROUGH
from streamcam.runtime.capture import Capture
from streamcam.runtime.engine_process import RUNNING, EngineProcess
from streamcam.runtime.gpu_stats import GpuStats
from streamcam.runtime.sink_thread import OutgoingFrame, SinkThread
from streamcam.runtime.switcher import Inputs, Switcher
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.stats import Rate, Status
from streamcam.types import BroadcastView, Frame, Image, LiveSource, Sink

log = logging.getLogger(__name__)


SWITCH_INTERVAL_S = 0.001
STOP_S = 1.5


class Broadcast:
    """Sends a picture to every sink at every tick of the clock, whatever happens to the rest.

    Args:
        config: with `config.model` "passthrough" there is no engine, and the camera is shown.
        control: what the operator sets.
        source: what comes in.
        sinks: given this broadcast as their `BroadcastView`, the sinks and their names.
    """

    def __init__(
        self,
        config: Config,
        control: Control,
        source: LiveSource,
        sinks: Callable[[BroadcastView], Iterable[tuple[str, Sink]]],
    ) -> None:
        self.failed: StreamcamError | None = None
        """Why it cannot go on, when `over` is set by a failure."""
        self.over = threading.Event()
        """Set when there is no reason to go on: the source has ended, or the model is unusable."""
        self._config = config
        self._control = control
        self._capture = Capture(source, lambda: control.parameters, self._came_in)
        self.engine = None if config.model == PASSTHROUGH else EngineProcess(config, self._fail)
        self._switcher = Switcher(config, passthrough=self.engine is None)
        self._sink_threads = [SinkThread(name, sink) for name, sink in sinks(self)]
        self._rate = Rate()
        self._ticks = Rate()
        self._gauges = GpuStats(config.device)
        self._began = time.monotonic()
        self._next_offer = 0.0
        self._passed: tuple[int, Parameters] = (0, config.live)
        self._pictures: deque[Frame] = deque(maxlen=config.burst)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="output", daemon=True)

    def __enter__(self) -> Self:
        # Threads that copy and encode must not keep the clock's thread waiting.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        for sink_thread in self._sink_threads:
            sink_thread.start()
        self._thread.start()
        self._capture.start()
        if self.engine:
            self.engine.start()
        return self

    def __exit__(self, *exception: object) -> None:
        end = time.monotonic() + STOP_S
        self._stopping.set()
        self._capture.ask_to_stop()
        self._thread.join(STOP_S)
        for sink_thread in self._sink_threads:
            sink_thread.ask_to_stop()
        self._capture.join(max(0.1, end - time.monotonic()))
        if self.engine:
            self.engine.stop()
        for sink_thread in self._sink_threads:
            sink_thread.join(max(0.1, end - time.monotonic()))

    def wait_until_sending(self, timeout_s: float) -> bool:
        """Wait until every sink has taken its first picture or has failed; return whether so."""
        end = time.monotonic() + timeout_s
        for sink_thread in self._sink_threads:
            sink_thread.settled.wait(max(0.0, end - time.monotonic()))
        return not self.waiting()

    def waiting(self) -> list[str]:
        """Return the names of the sinks that have neither taken a picture nor failed so far."""
        return [
            sink_thread.name
            for sink_thread in self._sink_threads
            if not sink_thread.settled.is_set()
        ]

    def sending(self) -> set[str]:
        """Return the names of the sinks that take pictures."""
        return {
            sink_thread.name for sink_thread in self._sink_threads if sink_thread.problem is None
        }

    # ---- Scene

    def input_frame(self) -> Frame | None:
        return self._capture.newest

    def parameters(self) -> Parameters:
        return self._control.parameters

    def applied_parameters(self) -> tuple[int, Parameters]:
        return self.engine.applied_parameters if self.engine else self._passed

    def status(self) -> Status:
        now = time.monotonic()
        engine = self.engine
        vram, power = self._gauges.read()
        latencies = next((o.latencies for o in self._sink_threads if o.latencies.recent), None)
        return Status(
            state=engine.state if engine else PASSTHROUGH,
            source=self._source_state(now),
            fps_in=self._capture.rate.per_second(now),
            fps_model=self._rate.per_second(now),
            fps_out=self._ticks.per_second(now),
            latency_p50=latencies.percentile(50) if latencies else None,
            latency_p95=latencies.percentile(95) if latencies else None,
            dropped=engine.dropped if engine else 0,
            skipped=engine.skipped if engine else 0,
            restarts=engine.restarts if engine else 0,
            schedule=engine.schedule if engine else "",
            uptime=now - self._began,
            model=self._config.model,
            vram=vram,
            power=power,
            sinks=tuple(sink_thread.line for sink_thread in self._sink_threads),
        )

    def _source_state(self, now: float) -> str:
        if self._capture.ended.is_set():
            return "ended"
        return "lost" if self._capture.problem(now) else "live"

    # ---- the capture thread

    def _came_in(self, frame: Frame) -> None:
        parameters = self._control.parameters
        if self.engine is None:
            if parameters is not self._passed[1]:
                self._passed = (frame.index, parameters)
            return
        if parameters.fps_limit:
            if frame.captured_at < self._next_offer:
                return
            period = 1 / parameters.fps_limit
            self._next_offer = max(self._next_offer + period, frame.captured_at)
        self.engine.offer(frame, parameters)

    def _fail(self, error: StreamcamError) -> None:
        self.failed = error
        self.over.set()

    # ---- the output thread

    def _loop(self) -> None:
        period = float(1 / self._config.broadcast.rate)
        picture: Frame | None = None
        shown: Frame | None = None
        start, tick = time.monotonic(), 0
        while not self._stopping.wait(max(0.0, start + tick * period - time.monotonic())):
            now = time.monotonic()
            # After a stall the clock goes on from here; what was missed is not caught up with.
            tick = max(tick, int((now - start) / period)) + 1
            self._ticks.tick(now)
            parameters = self._control.advance()
            picture = self._next_picture(picture, now)
            image = self._compose(self._feeds(picture, now), parameters)
            frame = self._switcher.frame
            self._send(image, frame, fresh=frame is not None and frame is not shown, now=now)
            shown = frame
            if self._capture.ended.is_set():
                self.over.set()

    def _next_picture(self, last: Frame | None, now: float) -> Frame | None:
        """Return the model's picture for this tick: the next one, else the last one again."""
        if self.engine is None:
            return None
        came = self.engine.pictures()
        if self.engine.state != RUNNING:
            self._pictures.clear()
            return None
        for _ in came:
            self._rate.tick(now)
        self._pictures.extend(came)
        return self._pictures.popleft() if self._pictures else last

    def _feeds(self, picture: Frame | None, now: float) -> Inputs:
        engine = self.engine
        return Inputs(
            camera=self._capture.newest,
            picture=picture,
            detail=engine.detail if engine else "",
            source=self._capture.problem(now),
        )

    def _compose(self, feeds: Inputs, parameters: Parameters) -> Image:
        try:
            return self._switcher.compose(feeds, parameters)
        except Exception:
            # On air is sacred: whatever is wrong with this picture, the last one is still good.
            log.exception("cannot compose a picture; the last one stays")
            return self._switcher.held

    def _send(self, image: Image, frame: Frame | None, *, fresh: bool, now: float) -> None:
        out = Frame(image, -1, now)
        if frame is not None:
            packed = frame.packed if image is frame.image else None
            out = Frame(image, frame.index, frame.captured_at, packed)
        for sink_thread in self._sink_threads:
            sink_thread.put(OutgoingFrame(out, fresh))
