"""Frames from one process to another: shared memory, newest wins, nobody waits for a lock.

One process writes, one reads. The writer goes round its slots and never blocks; a reader that is
too slow finds older frames overwritten. A slot carries the number of its frame, 0 while it is
being written, so that a reader knows a torn copy when it has made one. Either process may die or
stop at any instruction, and the other goes on.
"""

import shutil
import socket
from dataclasses import dataclass
from math import prod
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from select import select
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamcam.errors import EngineError
from streamcam.types import Bytes, Image

MAX_NOTE = 256 * 1024
"""Bytes; memory that no note has touched is never taken."""
SPARE = 3
"""Slots beyond those a reader may be taking: the writer laps it only after so many frames."""

NEWEST = 0
CELLS = 16
META = np.dtype(
    [
        ("number", "i8"),
        ("index", "i8"),
        ("captured_at", "f8"),
        ("height", "i8"),
        ("width", "i8"),
        ("version", "i8"),
        ("noted", "i8"),
    ]
)


SHARED = Path("/dev/shm")


def _check_room(size: int) -> None:
    """Raise EngineError where shared memory is too small: writing beyond it ends a process."""
    if SHARED.is_dir() and (free := shutil.disk_usage(SHARED).free) < size:
        raise EngineError(
            f"{SHARED} has {free / 2**20:.0f} MB free, and the engine needs {size / 2**20:.0f} MB;"
            " make it larger (docker run --shm-size=256m) or choose a smaller --width and --height,"
            " or --canvas"
        )


@dataclass(frozen=True, slots=True)
class Message:
    """A frame as it travels."""

    image: Image
    index: int
    captured_at: float
    version: int
    """Of the note."""
    note: bytes
    """What goes with it: a frame's snapshot of the parameters, a picture in other pixels."""


class FrameRing:
    """Slots for pictures, in memory that two processes share.

    Args:
        shape: ``(H, W, 3)`` of the largest picture, uint8.
        capacity: most frames that a reader takes at a time.
        note: bytes of the longest note.
    """

    def __init__(
        self, shape: tuple[int, int, int], capacity: int = 1, *, note: int = MAX_NOTE
    ) -> None:
        self.shape = shape
        self.capacity = capacity
        slots = capacity + SPARE
        self._strides = (prod(shape), note)
        size = CELLS * 8 + slots * (META.itemsize + sum(self._strides))
        _check_room(size)
        self._memory = SharedMemory(create=True, size=size)
        self._bells = socket.socketpair()
        self._attach()
        self.cells[:] = 0
        self._meta["number"] = 0

    def __getstate__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "capacity": self.capacity,
            "_strides": self._strides,
            "_memory": self._memory,
            "_bells": self._bells,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._attach()

    def _attach(self) -> None:
        slots, (pixels, note) = self.capacity + SPARE, self._strides
        assert self._memory.buf is not None
        memory = np.frombuffer(self._memory.buf, np.uint8)
        start = CELLS * 8
        self.cells: NDArray[np.int64] = memory[:start].view(np.int64)
        """The first is the newest frame's number; the others are free for counters."""
        end = start + slots * META.itemsize
        self._meta = memory[start:end].view(META)
        self._images = memory[end : end + slots * pixels].reshape(slots, pixels)
        notes = end + slots * pixels
        self._notes = memory[notes : notes + slots * note].reshape(slots, note)
        self._taken = int(self.cells[NEWEST])
        self.missed = 0
        """Frames that newer ones overtook before this reader came for them."""
        for bell in self._bells:
            bell.setblocking(False)

    def put(
        self,
        image: Image,
        index: int,
        captured_at: float,
        *,
        version: int = 0,
        note: bytes | Bytes = b"",
    ) -> None:
        """Write a frame over the oldest one and ring the bell; never waits.

        Raises:
            EngineError: it is larger than there is room for.
        """
        if not self.takes(image) or len(note) > self._strides[1]:
            raise EngineError(
                f"there is no shared memory for pictures of {image.shape[1]}x{image.shape[0]};"
                " name the device, such as --device cuda"
            )
        number = int(self.cells[NEWEST]) + 1
        slot = number % len(self._meta)
        meta = self._meta[slot]
        meta["number"] = 0
        np.copyto(self._images[slot, : image.size].reshape(image.shape), image)
        self._notes[slot, : len(note)] = np.frombuffer(note, np.uint8)
        meta["index"], meta["captured_at"] = index, captured_at
        meta["height"], meta["width"] = image.shape[:2]
        meta["version"], meta["noted"] = version, len(note)
        meta["number"] = number
        self.cells[NEWEST] = number
        try:
            self._bells[0].send(b".")
        except BlockingIOError:
            return  # The reader has not come for a long time; the bell is ringing already.

    def takes(self, image: Image) -> bool:
        """Return whether there is room for `image`."""
        return image.size <= self._strides[0]

    def wait(self, timeout_s: float) -> bool:
        """Wait until the bell rings; return False when it has not."""
        return bool(select([self._bells[1]], [], [], timeout_s)[0])

    def take(self) -> list[Message]:
        """Return the newest frames not yet taken, oldest first, `capacity` at most."""
        self._silence()
        newest = int(self.cells[NEWEST])
        first = max(self._taken + 1, newest - self.capacity + 1)
        self.missed += max(0, first - self._taken - 1)
        self._taken = newest
        found = (self._copied(number) for number in range(first, newest + 1))
        return [message for message in found if message is not None]

    def _silence(self) -> None:
        # Receiving is also what orders this process's reads after the other one's writes.
        try:
            while len(self._bells[1].recv(4096)) == 4096:
                continue
        except BlockingIOError:
            return

    def _copied(self, number: int) -> Message | None:
        """Return frame `number`, or None if the writer has been over it meanwhile."""
        slot = number % len(self._meta)
        meta = self._meta[slot]
        if int(meta["number"]) != number:
            return None
        shape = int(meta["height"]), int(meta["width"]), 3
        if prod(shape) > self._strides[0]:
            return None  # Half of one size and half of another.
        message = Message(
            self._images[slot, : prod(shape)].reshape(shape).copy(),
            int(meta["index"]),
            float(meta["captured_at"]),
            int(meta["version"]),
            self._notes[slot, : int(meta["noted"])].tobytes(),
        )
        return message if int(meta["number"]) == number else None

    def close(self, *, unlink: bool = False) -> None:
        """Let go of the memory; with `unlink` it ceases to be."""
        for bell in self._bells:
            bell.close()
        # The views must go before the memory can be unmapped.
        for name in ("cells", "_meta", "_images", "_notes"):
            self.__dict__.pop(name, None)
        self._memory.close()
        if unlink:
            self._memory.unlink()
