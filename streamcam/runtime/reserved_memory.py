"""Shared memory that is reserved when it is made: writing to more than there is kills a process."""

import errno
import os
import shutil
from contextlib import suppress
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

from streamcam.errors import EngineError

SHARED_MEMORY = Path("/dev/shm")


def create_shared_memory(size: int) -> SharedMemory:
    """Return new shared memory of `size` bytes, all zero, which nobody else can take any more.

    Raises:
        EngineError: there is too little, or none.
    """
    _check_free_memory(size)
    try:
        memory = SharedMemory(create=True, size=size)
    except OSError as error:
        remedy = (
            f'; {SHARED_MEMORY} must be there and writable: "mount -t tmpfs tmpfs {SHARED_MEMORY}"'
            if error.errno in (errno.ENOENT, errno.EROFS, errno.EACCES)
            else ""
        )
        raise EngineError(f"cannot create shared memory: {error.strerror}{remedy}") from None
    try:
        _reserve(memory, size)
    except OSError as error:
        memory.close()
        memory.unlink()
        if error.errno == errno.ENOSPC:
            raise _too_little_memory(size) from None
        raise EngineError(f"cannot reserve shared memory: {error.strerror}") from None
    return memory


def _reserve(memory: SharedMemory, size: int) -> None:
    """Allocate all pages: one that is missing when it is written to kills the process."""
    path = SHARED_MEMORY / memory.name.lstrip("/")
    if hasattr(os, "posix_fallocate") and path.exists():
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)


def _check_free_memory(size: int) -> None:
    """Raise EngineError where there is too little; the system may try for long to find more."""
    with suppress(OSError):
        usage = shutil.disk_usage(SHARED_MEMORY)
        if usage.total and usage.free < size:  # Without a limit it has no size at all.
            raise _too_little_memory(size)


def _too_little_memory(size: int) -> EngineError:
    free = shutil.disk_usage(SHARED_MEMORY).free
    return EngineError(
        f"{SHARED_MEMORY} has {free / 2**20:.0f} MB free, and the engine needs"
        f" {size / 2**20:.0f} MB; make it larger (docker run --shm-size=256m) or choose a"
        " smaller --width and --height, or --canvas"
    )
