"""Identities of files: equal only while their content is the same, as far as a file system says."""

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from streamcam.system.regular_file import open_regular

COARSE_NS = 10_000_000
"""Times that are whole multiples of this come from a file system with a coarse clock."""
SETTLED_COARSE_S, SETTLED_FINE_S = 4.0, 0.1
"""Age from which another change of a file would also change its time. FAT counts in 2 s."""


def identity(path: Path) -> str | None:
    """Return the inode, size and times of the file at `path`.

    None if it cannot be read, or has changed so lately that another change could look the same.
    """
    try:
        # Opened, not only looked at: network file systems then ask the server.
        with open_regular(path) as file:
            return settled_identity(os.fstat(file.fileno()), time.time())
    except OSError:
        return None


def settled_identity(status: os.stat_result, now: float) -> str | None:
    """Return what `identity` does, from the status of a file at the time `now`."""
    # The time of the last change of its status cannot be set back, as that of its content can.
    newest = max(status.st_mtime_ns, status.st_ctime_ns)
    coarse = not status.st_mtime_ns % COARSE_NS or not status.st_ctime_ns % COARSE_NS
    if now - newest / 1e9 < (SETTLED_COARSE_S if coarse else SETTLED_FINE_S):
        return None
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def joint_identity(paths: Iterable[Path]) -> str | None:
    """Return one identity of many files and their paths; None where one of them has none."""
    digest = hashlib.sha256()
    for path in sorted(set(paths)):
        if (own := identity(path)) is None:
            return None
        digest.update(f"{path}\0{own}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
