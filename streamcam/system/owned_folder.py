"""Temporary folders that belong to a process: swept by another process once their owner is gone."""

import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

GRACE_S = 60.0
"""Age below which a folder is left alone: its owner may be about to lock it."""


class OwnedFolder:
    """A new folder that `remove_abandoned` leaves alone while this process is there.

    It is locked, and the kernel unlocks it however the process ends. Windows and some network
    file systems lock no folders.

    Attributes:
        descriptors: the lock, for `subprocess.Popen(pass_fds=…)`: a child that inherits it owns
            the folder as well.

    Raises:
        OSError: it cannot be created.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _lock(self.path)
        self.descriptors = () if lock is None else (lock,)

    def close(self) -> None:
        """Remove the folder, where it still is, and give up the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = ()


def remove_abandoned(parent: Path, prefix: str, *, unlocked_after_s: float = float("inf")) -> None:
    """Remove the folders of owners that are gone.

    Args:
        parent: holds the folders.
        prefix: begins their names.
        unlocked_after_s: age of a folder that is removed even if locks are not to be had there.
    """
    with suppress(OSError):  # Not there, or not to be read: there is nothing to remove.
        for folder in parent.iterdir():
            if folder.name.startswith(prefix):
                with suppress(OSError):  # Another process was quicker.
                    _remove_if_abandoned(folder, unlocked_after_s)


def _remove_if_abandoned(folder: Path, unlocked_after_s: float) -> None:
    age_s = time.time() - folder.lstat().st_mtime
    if age_s < GRACE_S or folder.is_symlink() or not folder.is_dir():
        return
    try:
        lock = _lock(folder)
    except BlockingIOError:
        return  # Its owner is there.
    if lock is not None or age_s > unlocked_after_s:
        shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder; return the descriptor that holds the lock, None where there are no locks.

    Raises:
        BlockingIOError: another process holds it.
    """
    if sys.platform == "win32":
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, OSError) and not isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor
