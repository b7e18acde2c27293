"""A signal may arrive at any moment, even inside the wait for it."""

import subprocess
import sys

import pytest

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
