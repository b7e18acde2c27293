"""``streamcam render`` as a separate process that is stopped in the middle."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from streamcam.system.process_guard import module_path
from tests.cli.test_render import TINY
from tests.support.media import decoded_so_far
from tests.support.planted import NOT_BY_RUNPY, PlantedModules
from tests.support.preloaded import start

FRAMES_BEFORE = 60
DEADLINE_S = 200


class Rendering:
    """A render that is too long to finish.

    Args:
        output: what it writes.
        preloaded: fork it from a process with all imports, which is quicker; else start it as a
            user does.
    """

    def __init__(self, output: Path, *, preloaded: bool) -> None:
        words = ["render", "pattern", str(output), "--frames", "1000000", *TINY, "--set", "steps=1"]
        self.partial = output.with_name(f"{output.stem}.partial{output.suffix}")
        self._errors = output.parents[1] / f"{output.parent.name}.stderr"
        self._forked = None
        self.planted = PlantedModules(
            output.parents[1] / f"{output.parent.name}.planted", NOT_BY_RUNPY
        )
        if preloaded:
            self._forked = start(words, self._errors)
            self._process = psutil.Process(self._forked.pid)
            return
        self._process = psutil.Popen(
            [sys.executable, "-m", "streamcam", *words],
            stderr=self._errors.open("w"),
            env=os.environ | {"PYTHONPATH": module_path()},
            cwd=self.planted.folder,
        )

    def wait_for(self, frames: int) -> None:
        """Wait until that many frames can be read from the partial output."""
        deadline = time.monotonic() + DEADLINE_S
        while self.readable() < frames:
            assert self._process.is_running(), self._errors.read_text()
            assert time.monotonic() < deadline, "the render is too slow"
            time.sleep(0.2)

    def readable(self) -> int:
        if self.partial.is_dir():
            return len(list(self.partial.glob("*.png")))
        if self.partial.suffix != ".npy":
            return decoded_so_far(self.partial)
        try:
            return len(np.load(self.partial, mmap_mode="r"))
        except (OSError, ValueError, EOFError):
            return 0

    def stop(self, number: signal.Signals) -> tuple[int | None, str]:
        """Send the signal; return the exit code and stderr."""
        self._process.send_signal(number)
        return self._wait(30), self._errors.read_text()

    def kill(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self._process.kill()
        self._wait(30)

    def _wait(self, timeout_s: float) -> int | None:
        if self._forked is None:
            return self._process.wait(timeout_s)
        self._forked.join(timeout_s)
        return self._forked.exitcode


@pytest.fixture
def rendering(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rendering]:
    name, preloaded = request.param
    rendering = Rendering(tmp_path / name, preloaded=preloaded)
    yield rendering
    rendering.kill()


AS_USERS_DO, PRELOADED = False, True


@pytest.mark.parametrize(
    "rendering",
    [("a.mkv", PRELOADED), ("a.mp4", PRELOADED), ("a.npy", PRELOADED)],
    indirect=True,
    ids=str,
)
def test_a_crash_leaves_a_playable_output(rendering: Rendering) -> None:
    rendering.wait_for(FRAMES_BEFORE)
    code, _ = rendering.stop(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert rendering.readable() >= FRAMES_BEFORE
    assert [p.name for p in rendering.partial.parent.iterdir()] == [rendering.partial.name]


@pytest.mark.parametrize(
    ("rendering", "number"),
    [
        (("a.mkv", PRELOADED), signal.SIGINT),
        (("a.mp4", AS_USERS_DO), signal.SIGTERM),
        (("a", PRELOADED), signal.SIGINT),
    ],
    indirect=["rendering"],
    ids=str,
)
def test_an_interrupted_render_keeps_its_output(
    rendering: Rendering, number: signal.Signals
) -> None:
    rendering.wait_for(FRAMES_BEFORE)
    code, errors = rendering.stop(number)
    assert code == 130
    assert errors.splitlines()[-1] == "streamcam: stopped"
    assert "Traceback" not in errors
    assert rendering.readable() >= FRAMES_BEFORE
    assert [p.name for p in rendering.partial.parent.iterdir()] == [rendering.partial.name]
    assert not rendering.planted.imported
    if rendering.partial.suffix == ".mkv":
        with av.open(str(rendering.partial)) as container:
            assert container.duration, "a finished Matroska file knows how long it is"
