"""Guard of a process: a small process that outlives it, ends all that it started, and cleans up.

A process that is killed can neither end its children nor remove their temporary files, and theirs
(compilers and their workers) may be orphans already, or hang. So each carries a random mark in its
environment. The guard sees by a pipe that its process is gone, ends whatever carries the mark, and
removes the folder of their temporary files.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from streamcam.errors import StreamcamError
from streamcam.system.owned_folder import OwnedFolder, remove_abandoned
from streamcam.system.paths import compiler_cache

if TYPE_CHECKING:
    import psutil

MARK, FOLDER = "STREAMCAM_GUARD", "TMPDIR"
COMPILER_CACHE = "TORCHINDUCTOR_CACHE_DIR"
PREFIX = "streamcam-guarded-"
END_TIMEOUT_S = 60.0
"""For processes to end that were killed: one that waits for a device may take long."""
WAIT_S = 0.2
TRACKER = "multiprocessing.resource_tracker"
"""Process of Python's own that frees shared memory once all others are gone, and then ends."""


class _Guard(NamedTuple):
    process: "subprocess.Popen[bytes]"
    """Its input is open for as long as the guarded process is there."""
    folder: OwnedFolder
    environment: Mapping[str, str]


def guarded_environment() -> Mapping[str, str]:
    """Return variables for a child, which then ends with this process, as all that it starts does.

    Its temporary files are removed as well. A process that has these variables itself hands them
    on: its guard is that of the first one.

    Raises:
        StreamcamError: there is no room for temporary files, or for another process.
    """
    if MARK in os.environ:
        return {MARK: os.environ[MARK], FOLDER: tempfile.gettempdir()}
    return _guard(os.getpid()).environment


@cache
def _guard(_pid: int) -> _Guard:
    """Start the guard of this process, once; after a fork the child is another process."""
    try:
        parent = Path(tempfile.gettempdir())
        remove_abandoned(parent, PREFIX)
        folder = OwnedFolder(parent, PREFIX)
    except OSError as error:
        raise StreamcamError(
            f"no folder for temporary files: {error.strerror}; name one with the variable TMPDIR"
        ) from None
    mark = folder.path.name.removeprefix(PREFIX) + os.urandom(8).hex()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, mark, str(folder.path)],
            env=os.environ | {"PYTHONPATH": module_path()},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=parent,
            pass_fds=folder.descriptors,
            # Out of reach of what ends the others: Ctrl-C, a closed terminal, a killed group.
            start_new_session=True,
        )
    except OSError as error:
        folder.close()
        raise StreamcamError(f"cannot start another process: {error.strerror}") from None
    environment = {MARK: mark, FOLDER: str(folder.path)}
    if COMPILER_CACHE not in os.environ and (cache := compiler_cache()):
        # No temporary files: torch's next start finds what it has compiled.
        environment[COMPILER_CACHE] = str(cache)
    return _Guard(process, folder, environment)


def module_path() -> str:
    """Return the variable with which a child finds the modules that this process finds.

    But none in the current folder, unless it has been named.
    """
    own = str(Path(__file__).parents[2])
    return os.pathsep.join([*filter(None, sys.path), own])


def main() -> None:
    """Run as the guard: wait until the process at the other end of standard input is gone."""
    import psutil  # noqa: F401  # Now, since what is installed may change until then.

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    mark, folder = sys.argv[1:]
    sys.stdin.buffer.read()
    end_marked(mark)
    shutil.rmtree(folder, ignore_errors=True)


def end_marked(mark: str, variable: str = MARK) -> None:
    """Kill all processes that carry `mark` in `variable`, and those that they start meanwhile."""
    import psutil

    deadline = time.monotonic() + END_TIMEOUT_S
    while (marked := list(_marked(mark, variable))) and time.monotonic() < deadline:
        for process in marked:
            process.kill()
        psutil.wait_procs(marked, timeout=WAIT_S)


def _marked(mark: str, variable: str) -> Iterator["psutil.Process"]:
    import psutil

    for process in psutil.process_iter():
        try:
            carries_it = process.environ().get(variable) == mark
            if carries_it and TRACKER not in " ".join(process.cmdline()):
                yield process
        except (psutil.Error, OSError):
            continue  # It has just ended, or is another user's.


if __name__ == "__main__":
    main()
