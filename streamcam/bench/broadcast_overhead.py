"""Overhead of a broadcast: the latency that it adds, and the model's frames that it costs."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from urllib.request import urlopen

from streamcam.control.state import Control
from streamcam.errors import EngineError, StreamcamError
from streamcam.runtime.broadcast import BroadcastLoop
from streamcam.runtime.engine_process import RUNNING, EngineProcess
from streamcam.runtime.engine_worker import IDENTITY
from streamcam.settings.config import Config
from streamcam.sinks.null import NullSink
from streamcam.sinks.preview import Preview
from streamcam.sources import frame_code
from streamcam.sources.pattern import MovingPattern
from streamcam.stats import percentile
from streamcam.types import BroadcastView, Frame, Sink

LOAD_S = 600.0
DRIFT = Fraction(59, 60)
"""The source's rate over the sink's, so that every phase between their clocks occurs."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from the capture of a frame until its output was sent to the sink."""

    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    interval_ms: float
    """Between two frames that go out."""

    @property
    def meets_target(self) -> bool:
        """Whether half are within one interval and 5 ms, and 99% within two intervals."""
        return self.p50_ms <= self.interval_ms + 5 and self.p99_ms <= 2 * self.interval_ms


@dataclass(frozen=True, slots=True)
class Cost:
    """The model's frames per second, alone and on air, in turns."""

    alone_fps: float
    on_air_fps: float
    rounds: int

    @property
    def share(self) -> float:
        """Share of the model's frames that being on air costs."""
        return 1 - self.on_air_fps / self.alone_fps


@dataclass(frozen=True, slots=True)
class OnAir:
    """A broadcast of a real model."""

    latency: Latency
    model_fps: float
    """New outputs per second."""
    output_fps: float
    """Frames per second that the sink was sent."""
    dropped: int
    """Frames skipped to keep up."""
    running_after_s: float
    """Seconds from the start until the engine ran."""


class _OutputProbe:
    """Sink that takes the age of each new output."""

    def __init__(self) -> None:
        self.ages: list[float] = []
        self.sent = 0
        self._last = -1

    def __enter__(self) -> "_OutputProbe":
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def send(self, frame: Frame) -> None:
        self.sent += 1
        if frame.index != self._last:
            self._last = frame.index
            self.ages.append(time.monotonic() - frame.captured_at)


class _LatencyProbe:
    """Sink that reads each frame's age from its pixels."""

    def __init__(self) -> None:
        self.ages: list[float] = []
        self._last = -1

    def __enter__(self) -> "_LatencyProbe":
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def send(self, frame: Frame) -> None:
        arrived_at = time.monotonic()
        code = frame_code.read(frame.image)
        if code and code[0] != self._last:
            self._last = code[0]
            self.ages.append(arrived_at - code[1])


def latency(config: Config, seconds: float) -> Latency:
    """Return the latency of capture, rings and output, with an engine that returns every frame."""
    config = config.model_copy(update={"model": IDENTITY})
    probe = _LatencyProbe()

    def sinks(_: BroadcastView) -> Iterable[tuple[str, Sink]]:
        return [("probe", probe)]

    with BroadcastLoop(config, Control(config), pattern_source(config), sinks) as broadcast:
        wait_until_on_air(broadcast)
        time.sleep(1)
        probe.ages.clear()
        time.sleep(seconds)
    return _latency_of(probe.ages, config)


def on_air(config: Config, seconds: float) -> OnAir:
    """Return rate and latency of a broadcast of `config`, from test pattern to a null sink."""
    probe = _OutputProbe()

    def sinks(_: BroadcastView) -> Iterable[tuple[str, Sink]]:
        return [("null", probe)]

    started_at = time.monotonic()
    with BroadcastLoop(config, Control(config), pattern_source(config), sinks) as broadcast:
        engine = broadcast.engine
        assert engine is not None
        _wait_until(lambda: engine.state == RUNNING, lambda: broadcast.failed)
        running_after_s = time.monotonic() - started_at
        wait_until_on_air(broadcast)
        time.sleep(1)
        probe.ages.clear()
        probe.sent, dropped = 0, _dropped(broadcast)
        time.sleep(seconds)
        ages, sent, dropped = list(probe.ages), probe.sent, _dropped(broadcast) - dropped
    latency = _latency_of(ages, config)
    return OnAir(latency, len(ages) / seconds, sent / seconds, dropped, running_after_s)


def _dropped(broadcast: BroadcastLoop) -> int:
    assert broadcast.engine is not None
    return broadcast.engine.dropped


def _latency_of(ages_s: Sequence[float], config: Config) -> Latency:
    ages = [1e3 * age for age in ages_s]
    p50, p95, p99 = (percentile(ages, p) or 0.0 for p in (50, 95, 99))
    return Latency(len(ages), p50, p95, p99, 1e3 / float(config.broadcast.rate))


def cost(config: Config, seconds: float, rounds: int) -> Cost:
    """Return what capture, conversion, output and a watched preview cost the model."""
    pairs = [(_alone(config, seconds), _on_air(config, seconds)) for _ in range(rounds)]
    alone, on_air = zip(*pairs, strict=True)
    return Cost(statistics.median(alone), statistics.median(on_air), rounds)


def _alone(config: Config, seconds: float) -> float:
    """Return the fps of an engine that always has a new frame waiting."""
    failures: list[StreamcamError] = []
    engine = EngineProcess(config, failures.append)
    image = MovingPattern(config.width, config.height, config.broadcast.rate).image_at(0, 0.0)
    indices = count()

    def offer() -> None:
        engine.offer(Frame(image, next(indices), time.monotonic()), config.live)
        engine.outputs()

    def is_running() -> bool:
        offer()
        return _runs_settled(engine)

    engine.start()
    try:
        _wait_until(is_running, lambda: failures[0] if failures else None)
        first, end = engine.taken, time.monotonic() + seconds
        while time.monotonic() < end:
            offer()
            time.sleep(0.002)
        return (engine.taken - first) / seconds
    finally:
        engine.stop()


def _on_air(config: Config, seconds: float) -> float:
    """Return the fps of an engine on air, with a preview that someone watches."""
    preview: list[Preview] = []

    def sinks(view: BroadcastView) -> Iterator[tuple[str, Sink]]:
        preview.append(Preview("127.0.0.1", 0, view))
        yield "preview", preview[0]
        yield "null", NullSink()

    with BroadcastLoop(config, Control(config), pattern_source(config), sinks) as broadcast:
        wait_until_on_air(broadcast)
        with urlopen(f"{preview[0].url}after.mjpg", timeout=10) as stream:
            first = taken(broadcast)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                stream.read1()
            return (taken(broadcast) - first) / seconds


def taken(broadcast: BroadcastLoop) -> int:
    """Return how many frames the model has taken."""
    assert broadcast.engine is not None
    return broadcast.engine.taken


def pattern_source(config: Config) -> MovingPattern:
    """Return a test pattern that moves, at a rate slightly below the output's."""
    return MovingPattern(*config.broadcast.canvas, config.broadcast.rate * DRIFT)


def wait_until_on_air(broadcast: BroadcastLoop) -> None:
    """Wait until the engine runs as it will go on to; raise StreamcamError if it cannot."""
    engine = broadcast.engine
    assert engine is not None
    _wait_until(lambda: _runs_settled(engine), lambda: broadcast.failed)


def _runs_settled(engine: EngineProcess) -> bool:
    return engine.state == RUNNING and engine.is_settled


def _wait_until(is_so: Callable[[], bool], failure: Callable[[], StreamcamError | None]) -> None:
    end = time.monotonic() + LOAD_S
    while not is_so():
        if error := failure():
            raise error
        if time.monotonic() > end:
            raise EngineError(f"the engine did not start within {LOAD_S:.0f} s")
        time.sleep(0.05)
