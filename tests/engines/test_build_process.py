"""No process of a build is left, whichever is killed and when."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from streamcam.engines import build_process
from streamcam.errors import StreamcamError
from streamcam.settings.config import Config
from streamcam.system import supervised_thread
from streamcam.system.process_guard import module_path
from tests.runtime.broadcast_helpers import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")

PROGRAM = """
    from streamcam.engines.build_process import build_in_child
    from streamcam.errors import EngineError
    from streamcam.settings.config import Config

    print("started", flush=True)
    try:
        for line in build_in_child("slow:main", Config()):
            print(line, flush=True)
    except EngineError as error:
        print(error, flush=True)
"""
SLOW = """
    import os, subprocess, sys, threading, time
    from streamcam.system.child_process import end_with_parent

    COMPILER = "import time; print('compiling', flush=True); time.sleep(600)"

    def main():
        sys.stdin.readline()
        end_with_parent(sys.stdin.read, status=1)
        print("builder", os.getpid(), flush=True)
        # A worker of the compiler has a session of its own, and a pipe that it may hang on.
        subprocess.run([sys.executable, "-S", "-c", COMPILER], start_new_session=True)
"""


@pytest.mark.parametrize(
    ("killed", "moment"), [("first", "started"), ("first", "compiling"), ("builder", "compiling")]
)
def test_a_kill_at_any_moment_of_a_build_leaves_no_process(
    tmp_path: Path, killed: str, moment: str
) -> None:
    (tmp_path / "slow.py").write_text(dedent(SLOW), encoding="utf-8")
    tag = f"{tmp_path.name}-{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", dedent(PROGRAM)],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join([str(tmp_path), module_path()]), "TEST_TAG": tag},
        stdout=subprocess.PIPE,
        text=True,
    )
    pids = {"first": process.pid}
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("builder"):
                pids["builder"] = int(line.split()[1])
            if line.startswith(moment):
                psutil.Process(pids[killed]).kill()
    until(lambda: not tagged(tag), 60)
    if killed == "builder":
        assert "builds engines was killed, as the system does where memory runs out" in line


def tagged(tag: str) -> list[psutil.Process]:
    """Return the processes that inherited the variable."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TEST_TAG") == tag:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def test_ending_what_a_build_has_left_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = 0

    def end_at_last(_mark: str, _variable: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise MemoryError

    monkeypatch.setattr(build_process, "end_marked", end_at_last)
    assert list(build_process.build_in_child("platform:machine", Config())) == []
    assert tries == 3


def test_what_a_build_has_left_and_cannot_be_ended_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_mark: str, _variable: str) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(build_process, "end_marked", fail)
    monkeypatch.setattr(supervised_thread, "MAX_FAILURES", 2)
    with pytest.raises(StreamcamError, match="build fails again and again: no room"):
        list(build_process.build_in_child("platform:machine", Config()))
