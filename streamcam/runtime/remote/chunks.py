"""A frame in pieces that fit a packet, with parity to make up for those that are lost.

Chunk i belongs to group i mod G. A group's parity is the XOR of its chunks, so that one lost chunk
of each group is made again from the others at once, without asking for it; neighbours, which are
lost together, are in different groups.
"""

import struct
from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from streamcam.runtime.remote.wire import MAX_FRAME, WireError

CHUNK = 1200
"""Bytes of a chunk: with all headers a packet fits Ethernet and the usual tunnels."""
GROUP = 5
"""Chunks for each of parity."""
HEADER = struct.Struct("!QIH")
"""Number of the frame, its size in bytes, and the number of the chunk; parity comes after all."""

Row = NDArray[np.uint8]


def count_of(size: int) -> int:
    """Return how many chunks a frame of `size` bytes has, besides parity."""
    return ceil(size / CHUNK)


def groups_of(count: int) -> int:
    """Return how many groups, and so parity chunks, `count` chunks have."""
    return ceil(count / GROUP)


def chunks_of(number: int, data: bytes, *, parity: bool) -> list[bytes]:
    """Return the packets of a frame: its chunks, then their parity if asked for."""
    count = count_of(len(data))
    rows = np.zeros((count, CHUNK), np.uint8)
    rows.reshape(-1)[: len(data)] = np.frombuffer(data, np.uint8)
    packets = [
        HEADER.pack(number, len(data), i) + data[i * CHUNK : (i + 1) * CHUNK] for i in range(count)
    ]
    if parity:
        groups = groups_of(count)
        for group in range(groups):
            row = np.bitwise_xor.reduce(rows[group::groups], axis=0)
            packets.append(HEADER.pack(number, len(data), count + group) + row.tobytes())
    return packets


class Assembly:
    """A frame that comes in, chunk by chunk.

    Raises:
        WireError: no frame has that size.
    """

    def __init__(self, size: int) -> None:
        if not 0 < size <= MAX_FRAME:
            raise WireError("a frame is too large")
        self.size = size
        self.count = count_of(size)
        self.has_lost = False
        """Whether a chunk had to be made again, or asked for."""
        self._groups = groups_of(self.count)
        self._rows = np.zeros((self.count, CHUNK), np.uint8)
        self._here = np.zeros(self.count, bool)
        self._parity: dict[int, Row] = {}

    def add(self, index: int, payload: bytes) -> bool:
        """Take a chunk or parity; return whether the frame is complete.

        Raises:
            WireError: there is no such chunk.
        """
        row = np.zeros(CHUNK, np.uint8)
        if len(payload) > CHUNK or index >= self.count + self._groups:
            raise WireError("a part of a frame makes no sense")
        row[: len(payload)] = np.frombuffer(payload, np.uint8)
        if index >= self.count:
            group = index - self.count
            self._parity[group] = row
        else:
            group = index % self._groups
            self._rows[index], self._here[index] = row, True
        self._restore(group)
        return bool(self._here.all())

    def _restore(self, group: int) -> None:
        """Make the one missing chunk of a group again, if there is one and its parity is here."""
        members = np.arange(group, self.count, self._groups)
        missing = members[~self._here[members]]
        if group in self._parity and len(missing) == 1:
            others = members[self._here[members]]
            made = np.bitwise_xor.reduce(self._rows[others], axis=0) if len(others) else 0
            self._rows[missing[0]] = self._parity[group] ^ made
            self._here[missing[0]] = self.has_lost = True

    def missing(self) -> Sequence[int]:
        """Return the numbers of the chunks that are not here."""
        absent: list[int] = np.flatnonzero(~self._here).tolist()
        return absent

    def data(self) -> bytes:
        """Return the complete frame."""
        return self._rows.tobytes()[: self.size]
