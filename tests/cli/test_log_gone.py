"""Whoever reads the log or the output goes away or stops: nothing else changes."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest

from tests.runtime.broadcast_helpers import until
from tests.support.media import decoded
from tests.support.preloaded import start
from tests.support.shared_memory import shared_memory

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="named pipes and SIGHUP")

SMALL = ["--source", "pattern", "--canvas", "160x96", "--fps", "25", "--set", "osc=false"]


def started(errors: Path, recording: Path, *words: str) -> BaseProcess:
    return start(["run", *SMALL, "--sink", f"recorder:{recording}", *words], errors)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[int]:
    """Yield the reader's end of the named pipe ``log``."""
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    yield reader
    with suppress(OSError):
        os.close(reader)


def test_a_reader_that_goes_away_ends_nothing(tmp_path: Path, log: int) -> None:
    words = ["--model", "passthrough", "--duration", "1", "--log-json"]
    process = started(tmp_path / "log", tmp_path / "show.mkv", *words)
    assert wait([log], 60)
    os.close(log)
    process.join(60)
    assert process.exitcode == 0
    assert decoded(tmp_path / "show.mkv") > 10


def test_a_reader_that_has_stopped_ends_nothing(tmp_path: Path, log: int) -> None:
    writer = os.open(tmp_path / "log", os.O_WRONLY | os.O_NONBLOCK)
    while True:
        try:
            os.write(writer, b" " * 4096)
        except BlockingIOError:
            break
    words = ["--model", "passthrough", "--duration", "1"]
    process = started(tmp_path / "log", tmp_path / "show.mkv", *words)
    process.join(60)
    assert process.exitcode == 0
    assert decoded(tmp_path / "show.mkv") > 10
    assert os.read(log, 9) == b" " * 9
    os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_a_full_disk_keeps_no_engine_from_being_started_again(tmp_path: Path) -> None:
    process = started(Path("/dev/full"), tmp_path / "show.mkv", "--model", "identity", "--log-json")
    assert process.pid is not None
    parent = psutil.Process(process.pid)
    engines: set[int] = set()

    def another_engine() -> bool:
        found = {p.pid for p in parent.children() if "spawn_main" in " ".join(p.cmdline())}
        for pid in found - engines:
            os.kill(pid, signal.SIGKILL)
        engines.update(found)
        return len(engines) >= 2

    until(another_engine, 60, every=0.05)
    process.terminate()
    process.join(20)
    assert process.exitcode == 0
    assert decoded(tmp_path / "show.mkv") > 0


def test_a_closed_terminal_ends_the_broadcast_in_order(tmp_path: Path) -> None:
    errors = tmp_path / "log"
    process = started(errors, tmp_path / "show.mkv", "--model", "identity", "--log-json")
    until(lambda: errors.exists() and "the engine is running" in errors.read_text(), 60)
    assert process.pid is not None
    memory = shared_memory(process.pid)
    everybody = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    # The system sends it to all processes of the terminal, and the shell once more.
    for _ in range(2):
        for one in reversed(everybody):
            one.send_signal(signal.SIGHUP)
    process.join(20)
    assert process.exitcode == 0
    messages = [json.loads(line)["message"] for line in errors.read_text().splitlines()]
    assert messages[-1].startswith("off air")
    assert not [message for message in messages if "has died" in message]
    assert decoded(tmp_path / "show.mkv") > 0
    assert not [path for path in memory if path.exists()]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_output_to_a_full_disk_is_an_error_of_one_line(tmp_path: Path) -> None:
    process = start(["config", "show"], tmp_path / "errors", Path("/dev/full"))
    process.join(60)
    assert process.exitcode == 1
    assert (tmp_path / "errors").read_text() == (
        "streamcam: cannot write the output: No space left on device\n"
    )


def test_output_whose_reader_has_read_enough_ends_quietly(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "output")
    process = start(["config", "show"], tmp_path / "errors", tmp_path / "output")
    os.close(os.open(tmp_path / "output", os.O_RDONLY))  # Waits for the other side to open it.
    process.join(60)
    assert process.exitcode == 1  # As click does.
    assert not (tmp_path / "errors").read_text()
