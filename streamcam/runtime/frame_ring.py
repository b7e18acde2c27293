"""Ring buffer of frames between two processes: shared memory, newest wins, without locks.

One process writes, one reads. The writer goes round its slots and never blocks; a reader that is
too slow finds older frames overwritten. A slot carries the number of its frame, 0 while it is
being written, so that a reader that has made a torn copy notices. Either process may die or
stop at any instruction, and the other goes on.
"""

import socket
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from multiprocessing.connection import wait
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamcam.errors import EngineError
from streamcam.runtime.reserved_memory import create_shared_memory
from streamcam.types import Bytes, Image

MAX_METADATA = 256 * 1024
"""Bytes of metadata with a frame."""
SPARE_SLOTS = 3
"""Slots beyond those a reader may be copying: the writer laps it only after so many frames."""

NEWEST = 0
"""Counter that holds the number of the newest frame."""
COUNTERS = 16
SLOT_HEADER = np.dtype(
    [
        ("number", "i8"),
        ("index", "i8"),
        ("made_of", "i8"),
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
    made_of: int
    """Index of the frame that the image was made of."""


class _Slots(NamedTuple):
    """Views of the shared memory, a row for each slot. Whoever holds them keeps it mapped."""

    headers: NDArray[Any]
    images: Bytes
    metadata: Bytes


class FrameRing:
    """Slots for images and their metadata, in memory that two processes share.

    It may be closed while other threads use it: what they write then is lost, and nothing comes.

    Args:
        shape: ``(H, W, 3)`` of the largest image, uint8.
        capacity: most frames that a reader takes at a time.
        max_metadata: most bytes of metadata with a frame.

    Raises:
        EngineError: there is too little shared memory, or none.
    """

    def __init__(
        self, shape: tuple[int, int, int], capacity: int = 1, *, max_metadata: int = MAX_METADATA
    ) -> None:
        self.shape = shape
        self.capacity = capacity
        slots = capacity + SPARE_SLOTS
        self._strides = (prod(shape), max_metadata)
        size = COUNTERS * 8 + slots * (SLOT_HEADER.itemsize + sum(self._strides))
        self._memory = create_shared_memory(size)
        self._wakeups = socket.socketpair()
        self._map_memory()

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
        end = metadata + slots * metadata_size
        self._slots: _Slots | None = _Slots(
            memory[headers:images].view(SLOT_HEADER),
            memory[images:metadata].reshape(slots, image_size),
            memory[metadata:end].reshape(slots, metadata_size),
        )
        self._last_taken = int(self.counters[NEWEST])
        self.missed = 0
        """Frames that were overwritten by newer ones before this reader took them."""
        for wakeup in self._wakeups:
            wakeup.setblocking(False)

    @property
    def name(self) -> str:
        """Name of the shared memory, which no other ring has."""
        return self._memory.name

    def put(
        self,
        image: Image,
        index: int,
        captured_at: float,
        *,
        version: int = 0,
        metadata: bytes | Bytes = b"",
        made_of: int | None = None,
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
        if (slots := self._slots) is None:
            return  # Closed: nobody will take it.
        number = int(self.counters[NEWEST]) + 1
        slot = number % len(slots.headers)
        header = slots.headers[slot]
        header["number"] = 0
        np.copyto(slots.images[slot, : image.size].reshape(image.shape), image)
        slots.metadata[slot, : len(metadata)] = np.frombuffer(metadata, np.uint8)
        header["index"], header["captured_at"] = index, captured_at
        header["made_of"] = index if made_of is None else made_of
        header["height"], header["width"] = image.shape[:2]
        header["version"], header["metadata_size"] = version, len(metadata)
        header["number"] = number
        self.counters[NEWEST] = number
        # A reader that has not read for a long time has wakeups waiting already.
        with suppress(OSError):
            self._wakeups[0].send(b".")

    def has_room_for(self, image: Image) -> bool:
        """Return whether `image` is no larger than a slot."""
        return image.size <= self._strides[0]

    def wait(self, timeout_s: float) -> bool:
        """Wait for a wakeup of the writer; return False if none came in time."""
        return bool(wait([self._wakeups[1]], timeout_s))

    def take(self) -> list[RingFrame]:
        """Return the newest frames not yet taken, oldest first, `capacity` at most."""
        self._clear_wakeups()
        if (slots := self._slots) is None:
            return []
        newest = int(self.counters[NEWEST])
        first = max(self._last_taken + 1, newest - self.capacity + 1)
        self.missed += max(0, first - self._last_taken - 1)
        self._last_taken = newest
        copies = (self._copy_slot(slots, number) for number in range(first, newest + 1))
        return [frame for frame in copies if frame is not None]

    def _clear_wakeups(self) -> None:
        # Receiving is also what orders this process's reads after the other one's writes.
        with suppress(OSError):
            while len(self._wakeups[1].recv(4096)) == 4096:
                continue

    def _copy_slot(self, slots: _Slots, number: int) -> RingFrame | None:
        """Return a copy of frame `number`, or None if the writer has overwritten it meanwhile."""
        slot = number % len(slots.headers)
        header = slots.headers[slot]
        if int(header["number"]) != number:
            return None
        shape = int(header["height"]), int(header["width"]), 3
        if prod(shape) > self._strides[0]:
            return None  # Torn: the height of one frame and the width of another.
        frame = RingFrame(
            slots.images[slot, : prod(shape)].reshape(shape).copy(),
            int(header["index"]),
            float(header["captured_at"]),
            int(header["version"]),
            slots.metadata[slot, : int(header["metadata_size"])].tobytes(),
            int(header["made_of"]),
        )
        return frame if int(header["number"]) == number else None

    def close(self, *, unlink: bool = False) -> None:
        """Unmap the memory, but for the counters as they are now; with `unlink` also delete it."""
        for wakeup in self._wakeups:
            wakeup.close()
        # The views must go before the memory can be unmapped.
        self.counters = self.counters.copy()
        self._slots = None
        # While another thread is at a frame it stays mapped, until this object goes.
        with suppress(BufferError):
            self._memory.close()
        if unlink:
            # Some systems delete the memory of a user who has logged out.
            with suppress(FileNotFoundError):
                self._memory.unlink()
