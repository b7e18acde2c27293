"""Child processes: their line of input, the modules they find, and their end with the parent."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from subprocess import DEVNULL, PIPE
from textwrap import dedent
from typing import Any

import psutil
import pytest

from streamcam.system.child_process import start_child, temporary_folder
from streamcam.system.process_guard import module_path
from tests.runtime.broadcast_helpers import until
from tests.support.planted import EVERYTHING, PlantedModules

CHILD = """
import os
import sys

from streamcam.system.child_process import end_with_parent

def echo():
    print(sys.stdin.readline().rstrip(), flush=True)

def find_module():
    import planted_or_not
    print(planted_or_not.__file__)

def session():
    print(os.getsid(0))

def start_another():
    import subprocess
    words = "import socket; print('started by the child')"
    subprocess.run([sys.executable, "-c", words], check=True)

def leave():
    sys.exit(3)

def finish_while_the_parent_lives():
    sys.stdin.readline()
    end_with_parent(sys.stdin.read, status=7)

def wait_forever():
    import time
    sys.stdin.readline()
    end_with_parent(sys.stdin.read, status=7)
    print("waiting", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on this process's path that holds the module `child`."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "child.py").write_text(CHILD, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def output_of(function: str, message: str = "", **options: bool) -> str:
    with start_child(f"child:{function}", message, stdout=PIPE, stderr=None, **options) as process:
        assert process.stdout is not None
        return process.stdout.read().strip()


@pytest.mark.usefixtures("modules")
def test_a_child_reads_its_line_in_any_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    line = '{"model": "modèle/猫", "prompt": "' + "x" * 100_000 + '"}'
    assert output_of("echo", line) == line


@pytest.mark.parametrize("entry", [None, ""])
def test_a_child_never_imports_from_the_folder_it_was_started_in(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str | None
) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "planted_or_not.py").touch()
    (planted / "child.py").write_text("def find_module(): print('planted')", encoding="utf-8")
    (modules / "planted_or_not.py").touch()
    monkeypatch.chdir(planted)
    if entry is not None:
        # As where Python was started with -c, or reads from a terminal.
        monkeypatch.setattr(sys, "path", [entry, *sys.path])
    assert output_of("find_module") == str(modules / "planted_or_not.py")


PROGRAM = """
    import multiprocessing
    import subprocess
    import sys
    from multiprocessing.shared_memory import SharedMemory
    from subprocess import PIPE

    from streamcam.system.child_process import (
        guarded_children, start_child, start_guarded, start_resource_tracker
    )

    if __name__ == "__main__":
        start_resource_tracker()
        memory = SharedMemory(create=True, size=4096)
        process = multiprocessing.get_context("spawn").Process(target=print, args=("spawned",))
        start_guarded(process.start)
        process.join()
        memory.unlink()
        with start_child("child:start_another", "", stdout=PIPE, stderr=None) as process:
            print(process.stdout.read().strip())
        with guarded_children():
            subprocess.run([sys.executable, "-c", "import socket; print('started by a library')"])
        assert "PYTHONSAFEPATH" not in os.environ
"""


def test_nothing_that_is_started_imports_from_the_current_folder(
    modules: Path, tmp_path: Path
) -> None:
    planted = PlantedModules(tmp_path / "planted", EVERYTHING)
    program = modules / "program.py"
    program.write_text("import os" + dedent(PROGRAM), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, program],
        env=os.environ | {"PYTHONPATH": module_path()},
        cwd=planted.folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert not planted.imported
    lines = ["spawned", "started by the child", "started by a library"]
    assert (done.stdout.splitlines(), done.stderr) == (lines, "")


def test_a_temporary_folder_is_gone_afterwards_and_another_is_made_after_a_clean_up() -> None:
    with temporary_folder() as folder:
        (folder / "file").touch()
    assert not folder.exists()
    shutil.rmtree(folder.parent)
    with temporary_folder() as folder:
        assert folder.is_dir()


def test_without_room_for_a_temporary_folder_that_of_all_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STREAMCAM_GUARD", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with temporary_folder() as folder:
        assert folder == tmp_path / "file"
    assert folder.exists()


@pytest.mark.usefixtures("modules")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no sessions of this kind")
def test_only_a_child_in_a_new_session_is_out_of_reach_of_the_terminal() -> None:
    own = str(os.getsid(0))
    assert output_of("session") == own
    assert output_of("session", new_session=True) != own


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize("length", [1, 10**6])
def test_a_child_that_died_before_it_read_its_line_shows_by_its_status(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(subprocess.Popen):
        """Child that is gone before the parent writes."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.wait(60)

    monkeypatch.setattr(subprocess, "Popen", Late)
    with start_child("child:leave", "x" * length, stdout=DEVNULL, stderr=DEVNULL) as process:
        pass
    assert process.returncode == 3


@pytest.mark.usefixtures("modules")
def test_a_child_that_is_done_exits_while_its_parent_lives() -> None:
    process = start_child(
        "child:finish_while_the_parent_lives", "", stdout=DEVNULL, stderr=subprocess.PIPE
    )
    try:
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("modules")
def test_a_child_ends_with_its_status_once_its_input_is_closed() -> None:
    process = start_child("child:wait_forever", "", stdout=PIPE, stderr=None)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "waiting\n"
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(30) == 7
    process.stdout.close()


@pytest.mark.usefixtures("modules")
def test_a_child_ends_when_its_parent_is_killed() -> None:
    script = """
        import sys, time
        from subprocess import PIPE
        from streamcam.system.child_process import start_child
        process = start_child("child:wait_forever", "", stdout=PIPE, stderr=None)
        process.stdout.readline()
        print(process.pid, flush=True)
        time.sleep(600)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", dedent(script)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdout=PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        assert child.is_running()
        parent.kill()
    until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 30)


def test_a_child_ends_if_the_watch_on_its_parent_breaks() -> None:
    script = """
        import time
        from streamcam.system.child_process import end_with_parent

        def broken():
            raise RuntimeError("no such message")

        end_with_parent(broken, status=7)
        time.sleep(60)
    """
    words = [sys.executable, "-c", dedent(script)]
    assert subprocess.run(words, check=False, timeout=60).returncode == 7


@pytest.mark.skipif(os.name != "posix", reason="a process keeps its parent there")
def test_a_process_notices_that_the_one_which_started_it_is_gone() -> None:
    child = """
        import os
        from streamcam.system.child_process import wait_until_orphaned
        parent = os.getppid()
        print("waits", flush=True)
        wait_until_orphaned(parent, 0.01)
        print("alone", flush=True)
    """
    parent = """
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", sys.argv[1]])
        time.sleep(60)
    """
    started = subprocess.Popen(
        [sys.executable, "-c", dedent(parent), dedent(child)], stdout=PIPE, text=True
    )
    assert started.stdout
    assert started.stdout.readline() == "waits\n"
    started.kill()
    started.wait()
    assert started.stdout.readline() == "alone\n"
