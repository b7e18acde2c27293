"""``streamcam run`` with real devices, and a reader that records when each frame arrived."""

import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from streamcam import v4l2
from streamcam.sources import frame_code
from streamcam.types import Image

WIDTH, HEIGHT, FPS = 640, 360, 20
CANVAS = ["--canvas", f"{WIDTH}x{HEIGHT}", "--fps", str(FPS)]
MODEL = ["--model", "identity", "--width", "320", "--height", "184"]
MARGIN_S = 2 / FPS
"""Two frames: the longest gap may exceed the reader's longest undisturbed one by so much."""
STOP_S = 1.0
"""A gap of this length looks like a stop to viewers, however slow the machine is."""
BASELINE = 4 * FPS
"""Number of frames over which the undisturbed gaps are measured."""


def virtual_camera() -> Path:
    """Return the node of the loopback device."""
    return next(device.path for device in v4l2.devices() if device.is_loopback)


def free_port() -> int:
    """Return a UDP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Run:
    """A running streamcam, with its log; `running` starts and ends it."""

    def __init__(self, *arguments: str) -> None:
        self.osc_port = free_port()
        words = ["--sink", "virtual-camera", "--osc-port", str(self.osc_port), *CANVAS, *arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "streamcam", "run", *words],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip())

    def wait_for(self, words: str, seconds: float = 60.0) -> None:
        """Wait until the log has a line with `words`."""
        end = time.monotonic() + seconds
        while not any(words in line for line in self.log):
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def engine(self) -> psutil.Process:
        """Return the engine process."""
        children = psutil.Process(self.process.pid).children()
        [engine] = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        return engine

    def stop(self) -> None:
        """Have it end; where it does not, fail with what each of its threads is at."""
        self.process.terminate()
        try:
            assert self.process.wait(10) == 0, self.log
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            time.sleep(0.5)
            pytest.fail("it did not end within 10 s:\n" + "\n".join(self.log))
        self.ended = True

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        self.process.kill()
        self.process.wait()
        self.ended = True


@contextmanager
def running(*arguments: str) -> Iterator[Run]:
    """Run streamcam; stop it after the block unless the test did, and kill it in any case."""
    run = Run(*arguments)
    try:
        yield run
        if not run.ended:
            run.stop()
    finally:
        run.kill()


class Reader:
    """Reads the virtual camera with v4l2-ctl, which is not part of streamcam."""

    def __init__(self, node: Path) -> None:
        self.count = 0
        self.times: list[float] = []
        """Time in seconds at which the driver got each frame, as v4l2-ctl prints it."""
        self.newest: Image | None = None
        self._process = subprocess.Popen(
            ["v4l2-ctl", "-d", str(node), "--stream-mmap", "--stream-to=-", "--verbose"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for read in (self._read_images, self._read_times):
            threading.Thread(target=read, daemon=True).start()

    def _read_times(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if found := re.search(rb"ts: ([\d.]+)", line):
                self.times.append(float(found[1]))

    def _read_images(self) -> None:
        assert self._process.stdout is not None
        while data := self._process.stdout.read(WIDTH * HEIGHT * 2):
            if len(data) < WIDTH * HEIGHT * 2:
                return
            self.count += 1
            self.newest = np.frombuffer(data, np.uint8).reshape(HEIGHT, WIDTH, 2)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()

    def image(self) -> Image:
        """Return the newest frame as RGB."""
        import cv2

        assert self.newest is not None
        image = cv2.cvtColor(self.newest, cv2.COLOR_YUV2RGB_YUY2)
        assert isinstance(image, np.ndarray)
        return image

    def code(self) -> tuple[int, float] | None:
        """Return the number and the time in the newest frame's pixels."""
        return None if self.newest is None else frame_code.read(self.image())

    def wait(self, frames: int, seconds: float = 30.0) -> None:
        """Wait for so many more frames."""
        wanted, end = self.count + frames, time.monotonic() + seconds
        while self.count < wanted:
            assert time.monotonic() < end, f"{self.count} of {wanted} frames"
            time.sleep(0.02)

    def longest_gap(self, since: int) -> float:
        """Return the longest time between two frames in seconds, from frame number `since` on."""
        return max(b - a for a, b in pairwise(self.times[since:]))


class WakeUpMonitor:
    """Measures how late the machine wakes a thread that does nothing but sleep."""

    EVERY_S = 0.01

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def _tick(self) -> None:
        last = time.monotonic()
        while not self._stopped.wait(self.EVERY_S):
            now = time.monotonic()
            self.longest_s = max(self.longest_s, now - last - self.EVERY_S)
            last = now

    def __enter__(self) -> "WakeUpMonitor":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join()


@contextmanager
def no_visible_gap(reader: Reader, margin_s: float = MARGIN_S) -> Iterator[None]:
    """Check that viewers see no gap during the block.

    The longest gap may be `margin_s` longer than the reader's longest before, undisturbed, and
    longer by what the machine itself has overslept: a slow or busy one has gaps anyway. A gap of
    `STOP_S` is a stop everywhere.
    """
    first = len(reader.times)
    until(lambda: len(reader.times) >= first + BASELINE, 60)
    undisturbed = reader.longest_gap(first)
    disturbed = len(reader.times) - 1
    with WakeUpMonitor() as machine:
        yield
        # The last frames may still be in the pipe.
        count = len(reader.times)
        until(lambda: len(reader.times) > count, 30)
    gap = reader.longest_gap(disturbed)
    figures = {"gap": gap, "undisturbed": undisturbed, "overslept": machine.longest_s}
    print(", ".join(f"{name} {1e3 * seconds:.0f} ms" for name, seconds in figures.items()))
    assert gap < min(undisturbed + machine.longest_s + margin_s, STOP_S)


def until(true: Callable[[], object], seconds: float) -> float:
    """Wait until `true()`; return the seconds that it took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds, "it never came"
        time.sleep(0.05)
    return time.monotonic() - began
