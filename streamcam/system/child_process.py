"""Start child processes that end when their parent does, whatever either of them is doing.

They import nothing from the folder that they are started in, and nor does what they start.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path

from streamcam.errors import StreamcamError
from streamcam.system.process_guard import FOLDER, guarded_environment, module_path

SAFE_PATH = {"PYTHONSAFEPATH": "1"}
"""As -P: Python, started with -c as libraries do it, finds no modules in the current folder."""

_ENVIRONMENT_LOCK = threading.Lock()
"""Held while a thread starts a process with another environment than this one's."""


@contextmanager
def guarded_children() -> Iterator[None]:
    """Start whatever is started meanwhile, by any library, in the environment of `start_child`.

    For programs of our own. In a user's program it would end children that are not ours.

    Raises:
        StreamcamError: there is no room for temporary files, or for another process.
    """
    variables = _child_variables()
    default, tempfile.tempdir = tempfile.tempdir, variables.get(FOLDER)
    try:
        with _environment(variables):
            yield
    finally:
        tempfile.tempdir = default


def unguarded_environment() -> dict[str, str]:
    """Return this process's environment for a program that may outlive it, such as a browser.

    It lacks what marks the children of this process, which end with it.

    Raises:
        StreamcamError: there is no room for temporary files, or for another process.
    """
    marks = _child_variables()
    return {name: text for name, text in os.environ.items() if marks.get(name) != text}


def start_guarded(start: Callable[[], object], folder: Path | None = None) -> None:
    """Call `start`, which starts a process, in the environment of `start_child`.

    Args:
        start: returns once the process is there; the process inherits the environment.
        folder: for the temporary files of the process; by default that of all.

    Raises:
        StreamcamError: there is no room for temporary files, or for another process.
    """
    variables = _child_variables() | ({} if folder is None else {FOLDER: str(folder)})
    with _ENVIRONMENT_LOCK, _environment(variables):
        start()


def start_resource_tracker() -> None:
    """Start Python's own process that frees shared memory, before the first use of it.

    Raises:
        StreamcamError: there is no room for temporary files, or for another process.
    """
    if os.name == "posix":
        start_guarded(resource_tracker.ensure_running)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder, which is gone afterwards, and when this process has been killed.

    Where there is no room for one it is that of all temporary files, which goes with this process:
    an engine on air that is started again may need none.

    Raises:
        StreamcamError: another process cannot be started.
    """
    parent = Path(_child_variables()[FOLDER])
    try:
        parent.mkdir(exist_ok=True)  # Others may clean up what is days old.
        folder = tempfile.TemporaryDirectory(dir=parent, ignore_cleanup_errors=True)
    except OSError:
        yield parent
        return
    with folder as name:
        yield Path(name)


def _child_variables() -> dict[str, str]:
    return {**SAFE_PATH, **guarded_environment()}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, text in before.items():
            if text is None:
                del os.environ[name]
            else:
                os.environ[name] = text


def start_child(
    main: str,
    message: str,
    *,
    stdout: int,
    stderr: int | None,
    new_session: bool = False,
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start another Python that calls a function, and write one line to its standard input.

    The child finds the modules that this process finds, and none in the folder it is started in
    unless this process looks there too. Its input stays open: a child that calls
    `end_with_parent` on it ends with this process, even when this one is killed; and whatever it
    starts, and its temporary files, are gone then as well (`process_guard`).

    Args:
        main: ``package.module:function``, called without arguments.
        message: one line, of any length.
        stdout: as for `subprocess.Popen`, as is `stderr`.
        new_session: put the child out of the terminal's reach: Ctrl-C is for this process alone.
        variables: of its environment, besides those of this process.

    Returns:
        The process, its streams in UTF-8. If it died before it read its line, its exit status
        is all there is to see.

    Raises:
        StreamcamError: there is no room for temporary files, or for another process.
    """
    module, function = main.split(":")
    environment = {
        "PYTHONPATH": module_path(),
        # Its streams, whatever the locale is: paths and prompts hold any character.
        "PYTHONIOENCODING": "utf-8",
    }
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {module} import {function}; {function}()"],
            env=os.environ | _child_variables() | environment | dict(variables or {}),
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            encoding="utf-8",
            start_new_session=new_session,
        )
    except OSError as error:
        raise StreamcamError(f"cannot start another process: {error.strerror}") from None
    assert process.stdin is not None
    try:
        process.stdin.write(f"{message}\n")
        process.stdin.flush()
    except OSError:
        # It has died already. What is still buffered would raise again, at the caller's close.
        with suppress(OSError):
            process.stdin.close()
    return process


def prefer_as_oom_victim(by: int) -> None:
    """Raise the ``oom_score_adj`` of this process and its children to come, 1000 at the most.

    Where memory runs out, Linux then ends this process before its parent.
    """
    file = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):  # Other systems have none.
        file.write_text(str(min(1000, int(file.read_text()) + by)))


def wait_until_orphaned(parent: int, poll_s: float = 0.5) -> None:
    """Wait until the process `parent`, which started this one, is gone; for ever on Windows."""
    while os.getppid() == parent:
        time.sleep(poll_s)


def end_with_parent(wait_for_end: Callable[[], object], status: int) -> None:
    """End this process with `status` once `wait_for_end` returns or raises anything.

    `wait_for_end` blocks, in a thread of its own, until the parent's end of a pipe is closed.
    """

    def watch() -> None:
        try:
            wait_for_end()
        finally:
            # Whatever it raised: without this watch the child would outlive its parent.
            os._exit(status)

    threading.Thread(target=watch, name="parent", daemon=True).start()
