"""Ring buffer of frames between two processes: shared memory, newest wins, without locks.

One process writes, one reads. The writer goes round its slots and never blocks; a reader that is
too slow finds older frames overwritten. A slot carries the number of its frame, 0 while it is
being written, so that a reader that has made a torn copy notices. Either process may die or
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

MAX_METADATA = 256 * 1024
"""Bytes of metadata with a frame; pages of it that are never written take no memory."""
SPARE_SLOTS = 3
"""Slots beyond those a reader may be copying: the writer laps it only after so many frames."""
SHARED_MEMORY = Path("/dev/shm")

NEWEST = 0
"""Counter that holds the number of the newest frame."""
COUNTERS = 16
SLOT_HEADER = np.dtype(
    [
        ("number", "i8"),
        ("index", "i8"),
        ("captured_at", "f8"),
        ("height", "i8"),
        ("width", "i8"),
        ("version", "i8"),
        ("metadata_size", "i8"),
    ]
)


@dataclass(frozen=True, slots=True)
class RingFrame:
    """Copy of a frame that was read from a ring."""

    image: Image
    index: int
    captured_at: float
    version: int
    """Version of the parameters that the frame goes with."""
    metadata: bytes
    """The snapshot of the parameters as JSON on the way in, packed pixels on the way out."""


class FrameRing:
    """Slots for images and their metadata, in memory that two processes share.

    Args:
        shape: ``(H, W, 3)`` of the largest image, uint8.
        capacity: most frames that a reader takes at a time.
        max_metadata: most bytes of metadata with a frame.

    Raises:
        EngineError: there is too little shared memory.
    """

    def __init__(
        self, shape: tuple[int, int, int], capacity: int = 1, *, max_metadata: int = MAX_METADATA
    ) -> None:
        self.shape = shape
        self.capacity = capacity
        slots = capacity + SPARE_SLOTS
        self._strides = (prod(shape), max_metadata)
        size = COUNTERS * 8 + slots * (SLOT_HEADER.itemsize + sum(self._strides))
        _check_free_memory(size)
        self._memory = SharedMemory(create=True, size=size)
        self._wakeups = socket.socketpair()
        self._map_memory()
        self.counters[:] = 0
        self._headers["number"] = 0

    def __getstate__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "capacity": self.capacity,
            "_strides": self._strides,
            "_memory": self._memory,
            "_wakeups": self._wakeups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map_memory()

    def _map_memory(self) -> None:
        """Assign the views of the shared memory and this process's own reading position."""
        slots, (image_size, metadata_size) = self.capacity + SPARE_SLOTS, self._strides
        assert self._memory.buf is not None
        memory = np.frombuffer(self._memory.buf, np.uint8)
        headers = COUNTERS * 8
        images = headers + slots * SLOT_HEADER.itemsize
        metadata = images + slots * image_size
        self.counters: NDArray[np.int64] = memory[:headers].view(np.int64)
        """The first is the newest frame's number; the others are free for any use."""
        self._headers = memory[headers:images].view(SLOT_HEADER)
        self._images = memory[images:metadata].reshape(slots, image_size)
        end = metadata + slots * metadata_size
        self._metadata = memory[metadata:end].reshape(slots, metadata_size)
        self._last_taken = int(self.counters[NEWEST])
        self.missed = 0
        """Frames that were overwritten by newer ones before this reader took them."""
        for wakeup in self._wakeups:
            wakeup.setblocking(False)

    def put(
        self,
        image: Image,
        index: int,
        captured_at: float,
        *,
        version: int = 0,
        metadata: bytes | Bytes = b"",
    ) -> None:
        """Write a frame over the oldest one and wake the reader; never waits.

        Raises:
            EngineError: the frame is larger than a slot.
        """
        if not self.has_room_for(image) or len(metadata) > self._strides[1]:
            raise EngineError(
                f"there is no shared memory for frames of {image.shape[1]}x{image.shape[0]};"
                " name the device, such as --device cuda"
            )
        number = int(self.counters[NEWEST]) + 1
        slot = number % len(self._headers)
        header = self._headers[slot]
        header["number"] = 0
        np.copyto(self._images[slot, : image.size].reshape(image.shape), image)
        self._metadata[slot, : len(metadata)] = np.frombuffer(metadata, np.uint8)
        header["index"], header["captured_at"] = index, captured_at
        header["height"], header["width"] = image.shape[:2]
        header["version"], header["metadata_size"] = version, len(metadata)
        header["number"] = number
        self.counters[NEWEST] = number
        try:
            self._wakeups[0].send(b".")
        except BlockingIOError:
            return  # The reader has not read for a long time; it has wakeups waiting already.

    def has_room_for(self, image: Image) -> bool:
        """Return whether `image` is no larger than a slot."""
        return image.size <= self._strides[0]

    def wait(self, timeout_s: float) -> bool:
        """Wait for a wakeup of the writer; return False if none came in time."""
        return bool(select([self._wakeups[1]], [], [], timeout_s)[0])

    def take(self) -> list[RingFrame]:
        """Return the newest frames not yet taken, oldest first, `capacity` at most."""
        self._clear_wakeups()
        newest = int(self.counters[NEWEST])
        first = max(self._last_taken + 1, newest - self.capacity + 1)
        self.missed += max(0, first - self._last_taken - 1)
        self._last_taken = newest
        copies = (self._copy_slot(number) for number in range(first, newest + 1))
        return [frame for frame in copies if frame is not None]

    def _clear_wakeups(self) -> None:
        # Receiving is also what orders this process's reads after the other one's writes.
        try:
            while len(self._wakeups[1].recv(4096)) == 4096:
                continue
        except BlockingIOError:
            return

    def _copy_slot(self, number: int) -> RingFrame | None:
        """Return a copy of frame `number`, or None if the writer has overwritten it meanwhile."""
        slot = number % len(self._headers)
        header = self._headers[slot]
        if int(header["number"]) != number:
            return None
        shape = int(header["height"]), int(header["width"]), 3
        if prod(shape) > self._strides[0]:
            return None  # Torn: the height of one frame and the width of another.
        frame = RingFrame(
            self._images[slot, : prod(shape)].reshape(shape).copy(),
            int(header["index"]),
            float(header["captured_at"]),
            int(header["version"]),
            self._metadata[slot, : int(header["metadata_size"])].tobytes(),
        )
        return frame if int(header["number"]) == number else None

    def close(self, *, unlink: bool = False) -> None:
        """Unmap the memory; with `unlink` also delete it."""
        for wakeup in self._wakeups:
            wakeup.close()
        # The views must go before the memory can be unmapped.
        for name in ("counters", "_headers", "_images", "_metadata"):
            self.__dict__.pop(name, None)
        self._memory.close()
        if unlink:
            self._memory.unlink()


def _check_free_memory(size: int) -> None:
    """Raise EngineError where shared memory is too small: writing beyond it kills a process."""
    if SHARED_MEMORY.is_dir() and (free := shutil.disk_usage(SHARED_MEMORY).free) < size:
        raise EngineError(
            f"{SHARED_MEMORY} has {free / 2**20:.0f} MB free, and the engine needs"
            f" {size / 2**20:.0f} MB; make it larger (docker run --shm-size=256m) or choose a"
            " smaller --width and --height, or --canvas"
        )
