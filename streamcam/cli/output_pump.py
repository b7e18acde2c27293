"""Pumps between the standard streams and whoever reads them: who prints never waits for a reader.

A terminal after Ctrl-S, or a pager that is stopped, takes nothing and says nothing: everything
that writes to it waits, and no timeout ends that, in threads and child processes alike.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import wait

from streamcam.errors import StreamcamError
from streamcam.system.standard_streams import ERROR, OUTPUT
from streamcam.system.supervised_thread import SupervisedThread

CAPACITY_BYTES = 2**20
"""Of output that waits for its reader; Linux's own default is a sixteenth."""
DRAIN_S = 1.0
RETRY_S = 0.05


@contextmanager
def nonblocking_output(descriptors: Iterable[int] = (OUTPUT, ERROR)) -> Iterator[None]:
    """Let nobody wait who writes to stdout or stderr: this process, its libraries, its children.

    What a reader has not taken waits in a pipe; when that is full, it is dropped. If the reader
    takes nothing within `DRAIN_S` seconds of the end, this stays so until the process ends.
    """
    with ExitStack() as stack:
        if sys.platform != "win32":
            for descriptor in descriptors:
                stack.enter_context(_pumped(descriptor))
        yield


@contextmanager
def _pumped(descriptor: int) -> Iterator[None]:
    try:
        pump = _Pump(descriptor)
    except OSError as error:
        raise StreamcamError(f"cannot set up the output: {error.strerror}") from None
    try:
        yield
    finally:
        pump.stop()


class _Pump:
    """Thread that reads a pipe in place of `descriptor`, and writes to where that led."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._target = os.dup(descriptor)
        self._source, entrance = os.pipe()
        self._stop, self._stopper = os.pipe()
        self._stopping = threading.Event()
        # Children inherit the entrance, and with it that they are never made to wait.
        os.set_blocking(entrance, False)
        os.set_blocking(self._source, False)
        _enlarge(entrance)
        self._thread = SupervisedThread(
            f"output-{descriptor}", self._copy, self._stopping, on_error=_ignore
        )
        self._thread.start()
        os.dup2(entrance, descriptor)
        os.close(entrance)

    def stop(self) -> None:
        """Write what is still in the pipe, if its reader takes it, and restore the descriptor."""
        os.write(self._stopper, b".")
        self._thread.join(DRAIN_S)
        self._stopping.set()
        if self._thread.is_alive():
            return  # Whoever waits for this reader would wait for ever.
        os.dup2(self._target, self._descriptor)
        self._drain()
        for descriptor in (self._target, self._source, self._stop, self._stopper):
            os.close(descriptor)

    def _copy(self) -> None:
        # A terminal may stop a process in the background that writes to it, unless it blocks that.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        stopping = False
        while not stopping:
            stopping = self._stop in wait([self._source, self._stop])
            self._drain()

    def _drain(self) -> None:
        """Write all that is in the pipe."""
        with suppress(BlockingIOError):
            while message := os.read(self._source, CAPACITY_BYTES):
                self._write(message)

    def _write(self, message: bytes) -> None:
        rest = memoryview(message)
        while rest:
            try:
                rest = rest[os.write(self._target, rest) :]
            except BlockingIOError:
                # Another program that has this terminal too made it so.
                if self._stopping.wait(RETRY_S):
                    return
            except OSError:
                return  # The reader is gone, or the disk is full: it may have room again.


def _enlarge(entrance: int) -> None:
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # Where the system allows no more, the default must do.
            fcntl.fcntl(entrance, fcntl.F_SETPIPE_SZ, CAPACITY_BYTES)


def _ignore(error: BaseException) -> None:
    """Report nothing: there is nowhere to write it."""
