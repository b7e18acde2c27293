"""Start child processes that end when their parent does, whatever either of them is doing."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def start_child(
    main: str, message: str, *, stdout: int, stderr: int | None, new_session: bool = False
) -> subprocess.Popen[str]:
    """Start another Python that calls a function, and write one line to its standard input.

    The child finds the modules that this process finds, and none in the folder it is started in
    unless this process looks there too. Its input stays open: a child that calls
    `end_with_parent` on it ends with this process, even when this one is killed.

    Args:
        main: ``package.module:function``, called without arguments.
        message: one line, of any length.
        stdout: as for `subprocess.Popen`, as is `stderr`.
        new_session: put the child out of the terminal's reach: Ctrl-C is for this process alone.

    Returns:
        The process, its streams in UTF-8. If it died before it read its line, its exit status
        is all there is to see.
    """
    module, function = main.split(":")
    environment = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        # Its streams, whatever the locale is: paths and prompts hold any character.
        "PYTHONIOENCODING": "utf-8",
    }
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {module} import {function}; {function}()"],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        encoding="utf-8",
        start_new_session=new_session,
    )
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
