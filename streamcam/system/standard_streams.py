"""Standard streams that harm nobody who prints: their reader may be gone, or their disk full."""

import io
import logging
import os
import sys
from typing import Any, TextIO

from streamcam.limits import LogRateFilter

INPUT, OUTPUT, ERROR = 0, 1, 2


class MessageFile(io.FileIO):
    """A descriptor for messages: those that cannot be written are dropped, and nothing is raised.

    A message that a full pipe took a part of ends there; the next one begins a line of its own.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.dropped = 0
        """Messages that were lost, in whole or in part."""
        self._is_cut = False

    def write(self, message: Any) -> int:
        """Write `message`; return its size in bytes, whatever became of it."""
        size = memoryview(message).nbytes
        rest = memoryview(b"\n" + bytes(message) if self._is_cut else message).cast("B")
        try:
            while rest and (written := super().write(rest)):
                rest = rest[written:]
                self._is_cut = bool(rest)
        except OSError:
            self.dropped += 1
        else:
            self.dropped += bool(rest)
        return size


def protect_stderr() -> None:
    """Make ``sys.stderr`` one that never raises, and descriptors 0 to 2 of no use for files.

    A descriptor that the parent closed (``2>&-``) would be given to the next file or device that
    is opened, and native libraries would print into it. The log that is printed there is limited.
    """
    for descriptor in (INPUT, OUTPUT, ERROR):
        _reserve(descriptor)
    sys.stderr = _message_stream(sys.stderr, ERROR)
    if logging.lastResort:
        # It prints the log where nobody shows it: in children, and for some commands.
        logging.lastResort.addFilter(LogRateFilter())


def protect_output() -> None:
    """Do as `protect_stderr`, for ``sys.stdout`` too: in processes that print only messages."""
    protect_stderr()
    sys.stdout = _message_stream(sys.stdout, OUTPUT)


def dropped_messages(stream: TextIO | None) -> int:
    """Return how many messages `stream` has lost."""
    file = stream.buffer if isinstance(stream, io.TextIOWrapper) else None
    return file.dropped if isinstance(file, MessageFile) else 0


def _reserve(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
        os.set_inheritable(descriptor, True)


def _message_stream(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return a stream of messages on `descriptor`; `stream` itself where it writes elsewhere."""
    if stream is None:
        encoding = "utf-8"
    else:
        encoding = stream.encoding
        try:
            if stream.fileno() != descriptor or (sys.platform == "win32" and stream.isatty()):
                return stream  # Windows writes to its console in another way.
            stream.flush()
        except (OSError, ValueError):
            return stream  # A test's, which has no descriptor.
    return io.TextIOWrapper(
        MessageFile(descriptor),
        encoding=encoding,
        errors="backslashreplace",
        write_through=True,
    )
