"""Nothing that a process has started is left, nor are temporary files, however the process ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import psutil
import pytest

from streamcam.system.owned_folder import GRACE_S, OwnedFolder, remove_abandoned
from streamcam.system.process_guard import module_path
from tests.runtime.broadcast_helpers import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and locks of POSIX")

PROGRAM = """
    import subprocess, sys, tempfile
    from multiprocessing.shared_memory import SharedMemory
    from streamcam.system.child_process import guarded_children

    # Deaf, in a session of its own, and an orphan: as compilers' workers can be.
    ORPHAN = '''
    import os, signal, sys, tempfile, time
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    os.setsid()
    folder = tempfile.mkdtemp()
    print(os.getpid(), folder, flush=True)
    time.sleep(600)
    '''

    with guarded_children():
        memory = SharedMemory(create=True, size=4096)
        print(tempfile.mkdtemp(), memory.name, flush=True)
        subprocess.run([sys.executable, "-S", "-c", ORPHAN])
        sys.stdin.readline()
        memory.unlink()
"""


def ended(pid: int) -> Callable[[], bool]:
    def check() -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return check


@pytest.mark.parametrize("end", ["by itself", signal.SIGTERM, signal.SIGKILL], ids=str)
def test_a_process_that_ends_leaves_neither_processes_nor_files(
    tmp_path: Path, end: str | signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", dedent(PROGRAM).replace("\n    '''", "'''")],
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": module_path()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        own_folder, memory = process.stdout.readline().split()
        pid, orphans_folder = process.stdout.readline().split()
        assert {Path(own_folder).parent, Path(orphans_folder).parent} == set(tmp_path.iterdir())
        assert not ended(int(pid))()
        if isinstance(end, signal.Signals):
            process.send_signal(end)
    until(ended(int(pid)), 30)
    until(lambda: not list(tmp_path.iterdir()), 30)
    if sys.platform == "linux":
        until(lambda: not Path("/dev/shm", memory).exists(), 30)


def backdate(folder: Path) -> None:
    long_ago = time.time() - 2 * GRACE_S
    os.utime(folder, (long_ago, long_ago))


def test_a_folder_is_removed_once_its_owner_is_gone(tmp_path: Path) -> None:
    folder = OwnedFolder(tmp_path, "owned-")
    (folder.path / "file").touch()
    backdate(folder.path)
    remove_abandoned(tmp_path, "owned-")
    assert folder.path.exists()
    for descriptor in folder.descriptors:
        os.close(descriptor)  # As the kernel does when a process ends.
    remove_abandoned(tmp_path, "owned-")
    assert not folder.path.exists()


def test_only_folders_of_that_name_are_removed_and_no_new_ones(tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    (tmp_path / "owned-file").touch()
    (tmp_path / "owned-link").symlink_to(tmp_path / "another")
    (tmp_path / "owned-new").mkdir()
    for name in ("another", "owned-file"):
        backdate(tmp_path / name)
    before = set(tmp_path.iterdir())
    remove_abandoned(tmp_path, "owned-")
    assert set(tmp_path.iterdir()) == before
    remove_abandoned(tmp_path / "missing", "owned-")


def test_a_folder_is_gone_once_its_owner_closes_it(tmp_path: Path) -> None:
    folder = OwnedFolder(tmp_path, "owned-")
    folder.close()
    folder.close()
    assert list(tmp_path.iterdir()) == []
