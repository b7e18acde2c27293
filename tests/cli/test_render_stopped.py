"""``streamcam render`` as a separate process that is stopped in the middle."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tests.cli.test_render import TINY
from tests.support.media import decoded_so_far

FRAMES_BEFORE = 60
DEADLINE_S = 200


class Rendering:
    """A render that is too long to finish."""

    def __init__(self, output: Path) -> None:
        words = ["render", "pattern", str(output), "--frames", "1000000", *TINY]
        self.partial = output.with_name(f"{output.stem}.partial{output.suffix}")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamcam", *words, "--set", "steps=1"],
            stderr=subprocess.PIPE,
            text=True,
            # More threads than free cores would slow each other down.
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def wait_for(self, frames: int) -> None:
        """Wait until that many frames can be read from the partial output."""
        deadline = time.monotonic() + DEADLINE_S
        while self.readable() < frames:
            assert self.process.poll() is None, self.process.communicate()[1]
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

    def stop(self, number: signal.Signals) -> tuple[int, str]:
        """Send the signal; return the exit code and stderr."""
        self.process.send_signal(number)
        errors = self.process.communicate(timeout=30)[1]
        return self.process.returncode, errors


@pytest.fixture
def rendering(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rendering]:
    rendering = Rendering(tmp_path / request.param)
    yield rendering
    rendering.process.kill()
    rendering.process.communicate()


@pytest.mark.parametrize("rendering", ["a.mkv", "a.mp4", "a.npy"], indirect=True)
def test_a_crash_leaves_a_playable_output(rendering: Rendering) -> None:
    rendering.wait_for(FRAMES_BEFORE)
    code, _ = rendering.stop(signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert rendering.readable() >= FRAMES_BEFORE
    assert [p.name for p in rendering.partial.parent.iterdir()] == [rendering.partial.name]


@pytest.mark.parametrize(
    ("rendering", "number"),
    [("a.mkv", signal.SIGINT), ("a.mp4", signal.SIGTERM), ("a", signal.SIGINT)],
    indirect=["rendering"],
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
    if rendering.partial.suffix == ".mkv":
        with av.open(str(rendering.partial)) as container:
            assert container.duration, "a finished Matroska file knows how long it is"
