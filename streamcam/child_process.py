"""Child processes that end when their parent does, whatever either of them is doing."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress


def start_child(
    main: str, message: str, *, stdout: int, stderr: int | None, new_session: bool = False
) -> subprocess.Popen[str]:
    """Start another Python that calls a function, and send it one line on its standard input.

    The child finds the modules that this process finds, and never those of the folder it was
    started in. Its input stays open: a child that calls `end_with_parent` on it ends with this
    process, even when this one is killed.

    Args:
        main: ``package.module:function``, called without arguments.
        message: one line.
        stdout: as for `subprocess.Popen`, as is `stderr`.
        new_session: keep the child out of the terminal's reach: Ctrl-C is for this process alone.
    """
    module, function = main.split(":")
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {module} import {function}; {function}()"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=new_session,
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # It has died already: its exit status tells.
        process.stdin.write(f"{message}\n")
        process.stdin.flush()
    return process


def end_with_parent(wait_for_end: Callable[[], object], status: int) -> None:
    """End this process with `status` once `wait_for_end` returns or its connection breaks.

    `wait_for_end` blocks, in a thread of its own, until the parent's end of a pipe is closed.
    """

    def watch() -> None:
        with suppress(EOFError, OSError):
            wait_for_end()
        os._exit(status)

    threading.Thread(target=watch, name="parent", daemon=True).start()
