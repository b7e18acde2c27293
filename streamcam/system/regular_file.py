"""Open files that a user names; refuse pipes and devices, which may wait for ever."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "Is a directory"),
    (stat.S_ISFIFO, errno.EINVAL, "it is a pipe, not a file; save what it gives to a file first"),
    (stat.S_ISSOCK, errno.EINVAL, "it is a socket, not a file"),
    (stat.S_ISCHR, errno.EINVAL, "it is a device, not a file"),
    (stat.S_ISBLK, errno.EINVAL, "it is a device, not a file"),
)


def open_regular(path: Path) -> BinaryIO:
    """Open the file at `path` for reading; symbolic links are followed.

    Raises:
        OSError: there is none, or something else is there; its `strerror` says what.
    """
    # Before it is opened, as opening alone may change a device, and after, as it may be exchanged.
    check_regular(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _check_mode(os.fstat(file.fileno()).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def check_regular(path: Path) -> None:
    """Raise OSError unless there is a file at `path`, for a library that opens it by its name."""
    _check_mode(path.stat().st_mode, path)


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return all of the file at `path`, which may hold `max_bytes` at the most.

    Raises:
        OSError: it cannot be read, is longer, or is no file.
    """
    content = bytearray()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            content += chunk
            if len(content) > max_bytes:
                reason = f"it is longer than {max_bytes // 1000:,} kB"
                raise OSError(errno.EFBIG, reason, str(path))
    return bytes(content)


def _check_mode(mode: int, path: Path) -> None:
    for is_kind, number, reason in KINDS:
        if is_kind(mode):
            raise OSError(number, reason, str(path))
