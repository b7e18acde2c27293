"""Small broadcasts for tests: a camera that can be unplugged, and a sink that records."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from threading import Event
from typing import Any

import numpy as np
import psutil

from streamcam.control.state import Control
from streamcam.errors import DeviceError, MediaError
from streamcam.runtime.broadcast import BroadcastLoop
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame, Image

RATE = Fraction(50)
SMALL = {"model": "identity", "width": 64, "height": 48, "canvas": "64x48", "fps": 50}
SLATE = (18, 20, 26)


class FakeCamera:
    """Live source of frames in one colour, until it is unplugged."""

    rate = RATE
    length = None

    def __init__(self, colour: tuple[int, int, int] = (200, 40, 90)) -> None:
        self.image: Image = np.full((96, 128, 3), colour, np.uint8)
        self.plugged = Event()
        self.plugged.set()
        self.silent = Event()
        self.opened = 0
        self._stopped = Event()

    def __enter__(self) -> "FakeCamera":
        if not self.plugged.is_set():
            raise DeviceError("no such camera")
        self.opened += 1
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self._stopped.wait(float(1 / self.rate)):
            if not self.plugged.is_set():
                raise DeviceError("the camera is lost")
            if not self.silent.is_set():
                yield Frame(self.image, index, time.monotonic())
            index += 1

    def stop(self) -> None:
        self._stopped.set()


class RecordingSink:
    """Sink that keeps all frames and when they came; it can be made to fail."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.frames: list[Frame] = []
        self.failing = Event()
        self.opened = self.closed = 0

    def __enter__(self) -> "RecordingSink":
        self.opened += 1
        return self

    def __exit__(self, *exception: object) -> None:
        self.closed += 1

    def send(self, frame: Frame) -> None:
        if self.failing.is_set():
            raise MediaError("the disk is full")
        self.times.append(time.monotonic())
        self.frames.append(frame)

    def colour(self, index: int = -1) -> tuple[int, ...]:
        """Return the colour in a corner of a frame, where a slate has no words."""
        if not self.frames:
            return (-1, -1, -1)
        return tuple(int(level) for level in self.frames[index].image[2, 2])

    def wait_for(self, more: int) -> None:
        """Wait until so many more frames have come."""
        count = len(self.frames) + more
        until(lambda: len(self.frames) >= count)

    def longest_gap(self, since: float) -> float:
        """Return the longest time between two frames, seconds."""
        times = [t for t in self.times if t >= since]
        return max(b - a for a, b in pairwise(times))


@contextmanager
def on_air(
    *, source: Any = None, sinks: dict[str, Any] | None = None, **settings: Any
) -> Iterator[tuple[BroadcastLoop, Control, Any, RecordingSink]]:
    """Run a small broadcast over the identity engine."""
    config: Config = build_config([SMALL | settings])
    control, seen = Control(config), RecordingSink()
    source = source or FakeCamera()
    named = {"seen": seen} | (sinks or {})
    with BroadcastLoop(config, control, source, lambda _: named.items()) as broadcast:
        yield broadcast, control, source, seen


def until(condition: Callable[[], Any], seconds: float = 20.0, *, every: float = 0.002) -> float:
    """Poll `condition` until it is true; return how long it took, seconds."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "the condition was never true"
        time.sleep(every)
    return time.monotonic() - began


def engine_process() -> psutil.Process:
    """Return the engine process that this process has started."""
    [engine] = engine_processes()
    return engine


def engine_processes() -> list[psutil.Process]:
    """Return the engine processes that this process has started, the oldest first."""
    engines = [p for p in psutil.Process().children() if is_engine(p)]
    return sorted(engines, key=lambda process: process.create_time())


def is_engine(process: psutil.Process) -> bool:
    """Return whether a child is the engine, not multiprocessing's own helper."""
    return "spawn_main" in " ".join(process.cmdline())
