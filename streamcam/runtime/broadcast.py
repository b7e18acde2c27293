"""Broadcast process: joins source, engine and sinks, and stays on air when one of them fails."""

import logging
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import cv2

from streamcam.control.state import Control
from streamcam.errors import StreamcamError
from streamcam.runtime.auto_settings import PASSTHROUGH
from streamcam.runtime.auto_size import AutoSize, shown
from streamcam.runtime.capture import Capture
from streamcam.runtime.engine_on_air import EngineOnAir
from streamcam.runtime.engine_process import RUNNING, EngineProcess
from streamcam.runtime.gpu_stats import GpuStats
from streamcam.runtime.parameters_summary import active_overrides, prompt_text
from streamcam.runtime.sink_thread import OutgoingFrame, SinkThread
from streamcam.runtime.switcher import Inputs, Switcher
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.stats import LatencyHistory, Rate, Status
from streamcam.system.backoff import Backoff
from streamcam.system.cores import available_cores
from streamcam.system.supervised_thread import SupervisedThread
from streamcam.system.web_tokens import WebTokens
from streamcam.types import BroadcastView, Frame, Image, LiveSource, Sink

log = logging.getLogger(__name__)


SWITCH_INTERVAL_S = 0.001
CORES_PER_THREAD = 8
"""Of the CPU for each thread that OpenCV resizes and converts with: one does a frame in 3 ms."""
STOP_S = 1.5
LEAST_RATE = 5
"""Frames per second that the model's size must leave, of a still image too."""


@contextmanager
def _hangups_blocked() -> Iterator[None]:
    """Let a process that is started meanwhile outlive the terminal.

    Python's process for shared memory would die with it, before the broadcast ends in order.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class BroadcastLoop:
    """Send a frame to every sink at every tick of the clock, whatever else fails.

    Args:
        config: with `config.model` "passthrough" there is no engine, and the camera is shown.
        control: holds the newest live parameters.
        source: the camera or what stands in for it.
        sinks: returns the sinks with their names, given this broadcast as their `BroadcastView`.
        tokens: let another machine in to the preview; drawn if none are given.
    """

    def __init__(
        self,
        config: Config,
        control: Control,
        source: LiveSource,
        sinks: Callable[[BroadcastView], Iterable[tuple[str, Sink]]],
        tokens: WebTokens | None = None,
    ) -> None:
        self.failed: StreamcamError | None = None
        """The error that `over` was set for, if any."""
        self.first_output_at: float | None = None
        """Monotonic time at which the model's first output was there; None until then."""
        self.over = threading.Event()
        """Set when the broadcast cannot go on: the source has ended, or the model is unusable."""
        self.web_routes: Callable[[], Sequence[Any]] = tuple
        """Returns the Starlette routes that the preview serves too; to be set before entering."""
        self._tokens = tokens or WebTokens()
        self.latency_history = LatencyHistory()
        """Latencies of the last minute, for as long as somebody asks for the status."""
        self._config = config
        self._control = control
        self._capture = Capture(source, lambda: control.parameters, self._offer_frame)
        self._source = source
        self._engines: EngineOnAir | None = None
        if config.model != PASSTHROUGH:
            self._auto_size = AutoSize(config, self._set_failed)
            config = self._auto_size.first
            with _hangups_blocked():
                self._engines = EngineOnAir(config, self._auto_size.failed, control.refuse)
        self._model_config = config
        """Of the engine whose outputs the switcher composes."""
        self._switcher = Switcher(config, passthrough=self._engines is None)
        self._sink_threads = [SinkThread(name, sink) for name, sink in sinks(self)]
        self._output_rate = Rate()
        self._tick_rate = Rate()
        self._gpu_stats = GpuStats(lambda: self.engine.gpu if self.engine else "")
        self._cannot_compose = False
        self._started_at = time.monotonic()
        self._next_offer_at = 0.0
        self._passthrough_parameters: tuple[int, Parameters] = (0, config.live)
        self._outputs: deque[Frame] = deque(maxlen=config.burst)
        self._stopping = threading.Event()
        self._thread = SupervisedThread(
            "output",
            self._loop,
            self._stopping,
            on_give_up=self._set_failed,
            backoff=Backoff(first=0.02, longest=1.0),
        )

    def __enter__(self) -> Self:
        # Threads that copy and encode must not keep the clock's thread waiting.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        # OpenCV's own threads look for work before they sleep, on the cores that the model needs.
        cv2.setNumThreads(max(1, available_cores() // CORES_PER_THREAD))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        for sink_thread in self._sink_threads:
            sink_thread.start()
        # The font of a slate takes half a second to load, which the clock must not wait for.
        self._compose(self._inputs(None, time.monotonic()), self._control.parameters)
        self._thread.start()
        self._capture.start()
        if self._engines:
            self._auto_size.start(self._engines, lambda: self._control.target, self._frame_period)
            self._engines.start()
        self._gpu_stats.start()

    def __exit__(self, *exception: object) -> None:
        end = time.monotonic() + STOP_S
        self._stopping.set()
        self._gpu_stats.ask_to_stop()
        self._capture.ask_to_stop()
        self._thread.join(STOP_S)
        for sink_thread in self._sink_threads:
            sink_thread.ask_to_stop()
        self._capture.join(max(0.1, end - time.monotonic()))
        try:
            if self._engines:
                self._auto_size.stop()
                self._engines.stop()
        finally:
            for sink_thread in self._sink_threads:
                sink_thread.join(max(0.1, end - time.monotonic()))

    @property
    def engine(self) -> EngineProcess | None:
        """The engine on air; None where the source is passed through."""
        return self._engines.engine if self._engines else None

    def _frame_period(self) -> float:
        """Return the seconds between two frames that need an output."""
        rate = min(float(self._config.broadcast.rate), float(self._source.rate))
        return 1 / max(rate, LEAST_RATE)

    def wait_until_sending(self, timeout_s: float) -> bool:
        """Wait until every sink has taken its first frame or has failed; return whether so."""
        end = time.monotonic() + timeout_s
        for sink_thread in self._sink_threads:
            sink_thread.settled.wait(max(0.0, end - time.monotonic()))
        return not self.waiting()

    def waiting(self) -> list[str]:
        """Return the names of the sinks that have neither taken a frame nor failed so far."""
        return [
            sink_thread.name
            for sink_thread in self._sink_threads
            if not sink_thread.settled.is_set()
        ]

    def sending(self) -> set[str]:
        """Return the names of the sinks that take frames."""
        return {
            sink_thread.name for sink_thread in self._sink_threads if sink_thread.problem is None
        }

    @property
    def sink_names(self) -> list[str]:
        """Names of all sinks, without the secrets of URLs."""
        return [sink_thread.shown_name for sink_thread in self._sink_threads]

    def retry_sink(self, name: str) -> bool:
        """Open the sinks of that name that have failed again at once; return whether any had."""
        had_failed = [t.retry() for t in self._sink_threads if t.shown_name == name]
        return any(had_failed)

    # ---- BroadcastView

    def input_frame(self) -> Frame | None:
        return self._capture.newest

    def control_image(self) -> Image | None:
        return self.engine.control_image() if self.engine else None

    def parameters(self) -> Parameters:
        return self._control.parameters

    def applied_parameters(self) -> tuple[int, Parameters]:
        return self.engine.applied_parameters if self.engine else self._passthrough_parameters

    def web_tokens(self) -> WebTokens:
        return self._tokens

    def status(self) -> Status:
        now = time.monotonic()
        engine = self.engine
        parameters = self._control.target
        latencies = next((t.latencies for t in self._sink_threads if t.latencies.recent), None)
        p50 = latencies.percentile(50) if latencies else None
        p95 = latencies.percentile(95) if latencies else None
        self.latency_history.add(now, p50, p95)
        has_read = engine is None or engine.has_read(parameters)
        remark = engine.notice if engine and has_read else ""
        sink_states = tuple(sink_thread.state for sink_thread in self._sink_threads)
        return Status(
            state=engine.state if engine else PASSTHROUGH,
            activity=engine.activity if engine else "",
            source=self._source_state(now),
            fps_in=self._capture.rate.per_second(now),
            fps_model=self._output_rate.per_second(now),
            fps_out=self._tick_rate.per_second(now),
            latency_p50=p50,
            latency_p95=p95,
            dropped=engine.dropped if engine else 0,
            skipped=engine.skipped if engine else 0,
            restarts=engine.restarts if engine else 0,
            schedule=engine.schedule if engine else "",
            prompt_encoding=engine.prompt_encoding if engine else None,
            notice="; ".join(filter(None, [remark, self._control.notice])),
            prompt_read=has_read,
            uptime=now - self._started_at,
            model=self._config.model,
            size=shown((engine.config.width, engine.config.height)) if engine else "",
            vram=self._gpu_stats.memory,
            power=self._gpu_stats.power,
            sinks=tuple(state.line for state in sink_states),
            sink_states=sink_states,
            microphone_delay_ms=None if p50 is None else round(p50 * 1000),
            last_snapshot=self._saved(recordings=False),
            last_recording=self._saved(recordings=True),
            prompt=prompt_text(parameters.prompt),
            preset=self._control.preset,
            overrides=active_overrides(parameters),
            recording=self._recording(),
            obs=self._control.obs,
            page=next((t.page for t in self._sink_threads if t.page), None),
        )

    def _recording(self) -> str | None:
        paths = [t.recording for t in self._sink_threads]
        return next((str(path) for path in paths if path), None)

    def _saved(self, *, recordings: bool) -> str | None:
        """Return the path of the newest recording, or else of the newest snapshot."""
        paths = [t.saved for t in self._sink_threads if t.is_recorder == recordings]
        return next((str(path) for path in paths if path), None)

    def _source_state(self, now: float) -> str:
        if self._capture.ended.is_set():
            return "ended"
        return "lost" if self._capture.problem(now) else "live"

    # ---- called from the threads of capture and engine

    def _offer_frame(self, frame: Frame) -> None:
        parameters = self._control.parameters
        if self._engines is None:
            if parameters is not self._passthrough_parameters[1]:
                self._passthrough_parameters = (frame.index, parameters)
            return
        if parameters.fps_limit:
            if frame.captured_at < self._next_offer_at:
                return
            period = 1 / parameters.fps_limit
            self._next_offer_at = max(self._next_offer_at + period, frame.captured_at)
        self._engines.offer(frame, parameters)

    def _set_failed(self, error: StreamcamError) -> None:
        self.failed = error
        self.over.set()

    # ---- the output thread

    def _loop(self) -> None:
        period = float(1 / self._config.broadcast.rate)
        output: Frame | None = None
        sent: Frame | None = None
        start, tick = time.monotonic(), 0
        while not self._stopping.wait(max(0.0, start + tick * period - time.monotonic())):
            now = time.monotonic()
            # After a stall the clock goes on from here: missed ticks are not made up for.
            tick = max(tick, int((now - start) / period)) + 1
            self._tick_rate.tick(now)
            parameters = self._control.advance()
            output = self._next_output(output, now)
            image = self._compose(self._inputs(output, now), parameters)
            frame = self._switcher.frame
            self._send(image, frame, fresh=frame is not None and frame is not sent, now=now)
            sent = frame
            if self._capture.ended.is_set():
                self.over.set()

    def _next_output(self, last: Frame | None, now: float) -> Frame | None:
        """Return the model's output for this tick: the next one, else the last one again."""
        if self._engines is None:
            return None
        outputs = self._engines.outputs()
        engine = self._engines.engine
        if engine.config is not self._model_config:
            self._model_config = engine.config
            self._switcher.change_model(engine.config)
            self._outputs.clear()
        if engine.state != RUNNING:
            self._outputs.clear()
            return None
        if outputs and self.first_output_at is None:
            self.first_output_at = now
        for _ in outputs:
            self._output_rate.tick(now)
        self._outputs.extend(outputs)
        return self._outputs.popleft() if self._outputs else last

    def _inputs(self, output: Frame | None, now: float) -> Inputs:
        engine = self.engine
        return Inputs(
            camera=self._capture.newest,
            output=output,
            engine_runs=engine is not None and engine.state == RUNNING,
            source_problem=self._capture.problem(now),
            source=engine.source_of(output) if engine and output else None,
        )

    def _compose(self, inputs: Inputs, parameters: Parameters) -> Image:
        try:
            image = self._switcher.compose(inputs, parameters)
            self._cannot_compose = False
            return image
        except Exception:
            # Nothing may end a broadcast: whatever is wrong here, the last image is still good.
            if not self._cannot_compose:
                log.exception("cannot compose a frame; the last one stays on air")
            self._cannot_compose = True
            return self._switcher.held

    def _send(self, image: Image, frame: Frame | None, *, fresh: bool, now: float) -> None:
        """Send the composed `image` to every sink, stamped as the `frame` that it shows."""
        out = Frame(image, -1, now)
        if frame is not None:
            packed = frame.packed if image is frame.image else None
            out = Frame(image, frame.index, frame.captured_at, packed)
        for sink_thread in self._sink_threads:
            sink_thread.put(OutgoingFrame(out, fresh))
