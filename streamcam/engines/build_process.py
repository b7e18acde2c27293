"""Build engines in a child process, while the stream runs."""

import secrets
import subprocess
import threading
from collections.abc import Iterator

from streamcam.engines.build_failures import explained_status
from streamcam.errors import EngineError, StreamcamError
from streamcam.settings.config import Config
from streamcam.system.child_process import start_child
from streamcam.system.process_guard import end_marked
from streamcam.system.supervised_thread import SupervisedThread

MARK = "STREAMCAM_BUILD"
"""Variable by which the processes of a build are found: compilers, and their workers."""


def build_in_child(main: str, config: Config) -> Iterator[str]:
    """Build the engines of `config` in a child process at low priority; yield its output lines.

    Once the child has ended, whatever it has started and left is ended as well.

    Args:
        main: ``package.module:function`` that builds them; it reads `config` from its standard
            input, as a line of JSON.
        config: the settings of the stream that needs the engines.

    Raises:
        EngineError: the child failed, with its exit status.
        StreamcamError: it cannot be started, or what it has left cannot be ended.
    """
    mark = secrets.token_hex(8)
    process = start_child(
        main,
        config.model_dump_json(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        variables={MARK: mark},
    )
    assert process.stdout is not None

    def end_the_rest() -> None:
        process.wait()
        end_marked(mark, MARK)

    # A thread, as the output has no end while a compiler's worker that is left holds it open.
    failures: list[StreamcamError] = []
    watch = SupervisedThread("build", end_the_rest, threading.Event(), on_give_up=failures.append)
    with process:
        # Its input stays open until here: the child ends when this process is gone.
        watch.start()
        for line in process.stdout:
            yield line.rstrip()
    watch.join()
    if failures:
        raise failures[0]
    if process.returncode:
        raise EngineError(explained_status(process.returncode))
