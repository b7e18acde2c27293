"""A signal may arrive at any moment, even inside the wait for it."""

import signal
import subprocess
import sys
from collections.abc import Generator

import pytest
from rich.console import Console

from streamcam.cli.render import _show_progress

ROUNDS = """
import os, random, signal, time
from streamcam.cli.stop_signals import stopping

signal.signal(signal.SIGTERM, lambda *_: None)
parent = os.getpid()
child = os.fork()
if child == 0:
    while os.getppid() == parent:
        time.sleep(random.random() * 3e-4)
        os.kill(parent, signal.SIGTERM)
    os._exit(0)
for _ in range(1000):
    with stopping() as stop:
        while not stop.wait(1e-6):
            pass
os.kill(child, signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process at once on Windows")
def test_a_signal_at_any_moment_ends_the_wait() -> None:
    subprocess.run([sys.executable, "-c", ROUNDS], check=True, timeout=60)


def test_the_wait_for_the_first_frame_is_interrupted_at_once() -> None:
    steps: list[str] = []

    def frames() -> Generator[int]:
        try:
            signal.raise_signal(signal.SIGINT)
            steps.append("an engine was built")
            yield 1
        finally:
            steps.append("closed")

    with pytest.raises(KeyboardInterrupt):
        _show_progress(frames(), 1, Console(stderr=True))
    assert steps == ["closed"]
