"""Small files that only this user may have written, replaced as a whole."""

import errno
import os
import stat
import tempfile
from pathlib import Path

from streamcam.system.regular_file import read_regular

SHARED_WRITE = stat.S_IWGRP | stat.S_IWOTH


def read_private(file: Path, max_bytes: int) -> bytes:
    """Return all of `file`.

    Raises:
        OSError: it cannot be read, is too long, or another user may have written it.
    """
    if not is_private(file.stat()):
        raise PermissionError(errno.EPERM, "another user may have written it", str(file))
    return read_regular(file, max_bytes)


def is_private(status: os.stat_result) -> bool:
    """Return whether only this user, or the administrator, can have written a file."""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & SHARED_WRITE


def replace_private(file: Path, content: bytes) -> None:
    """Write a new `file` for this user alone, in the place of any that was there.

    Raises:
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
