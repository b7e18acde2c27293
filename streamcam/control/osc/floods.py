"""Floods: find who sends far more than is accepted, and have the system drop it (Linux).

All packets wait in one buffer of the system. While one sender fills it, those of other senders are
lost before anyone can look at them; so a flood has to end before that buffer.
"""

import ctypes
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

WINDOW_S = 1.0
FIRST_BLOCK_S = 2.0
LONGEST_BLOCK_S = 16.0
PORTS = 4
"""A host is blocked as a whole once so many times the limit was refused of its ports together."""
MAX_SENDERS = 64


class Sender(NamedTuple):
    """A port of a host, or all its ports."""

    host: str
    port: int | None


class Block(NamedTuple):
    """Time during which the packets of a sender are dropped."""

    until: float
    seconds: float


class FloodDetector:
    """Find senders of which more than `limit` packets are refused in a second.

    Each is blocked for two seconds, and for twice as long each time that it goes on afterwards.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._counts: Counter[Sender] = Counter()
        self._counted_from = 0.0
        self._blocks: dict[Sender, Block] = {}

    def refused(self, host: str, port: int, now: float) -> None:
        """Note that a packet was refused, since its host sends too many."""
        if now - self._counted_from > WINDOW_S:
            self._counts.clear()
            self._counted_from = now
        one, all_ = Sender(host, port), Sender(host, None)
        if self._is_blocked(one, now) or self._is_blocked(all_, now):
            return  # It had arrived before.
        self._counts.update((one, all_))
        if self._counts[one] > self._limit:
            self._block(one, now)
        elif self._counts[all_] > PORTS * self._limit:
            self._block(all_, now)

    def blocked(self, now: float) -> list[Sender]:
        """Return who is blocked now."""
        # One that has behaved for as long as it was blocked begins again.
        self._blocks = {s: b for s, b in self._blocks.items() if now < b.until + b.seconds}
        return [sender for sender in self._blocks if self._is_blocked(sender, now)]

    def _is_blocked(self, sender: Sender, now: float) -> bool:
        block = self._blocks.get(sender)
        return block is not None and now < block.until

    def _block(self, sender: Sender, now: float) -> None:
        last = self._blocks.get(sender)
        seconds = min(2 * last.seconds, LONGEST_BLOCK_S) if last else FIRST_BLOCK_S
        if last or len(self._blocks) < MAX_SENDERS:
            self._blocks[sender] = Block(now + seconds, seconds)


Instruction = tuple[int, int, int, int]
"""Operation, places to jump if true and if false, value: of the classic Berkeley Packet Filter."""

LOAD_WORD, LOAD_HALF, LOAD_BYTE, AND, JUMP_IF_EQUAL, RETURN = 0x20, 0x28, 0x30, 0x54, 0x15, 0x06
NETWORK_HEADER = -0x100000 & 0xFFFFFFFF
"""Offsets from here on count from the IP header, lower ones from the UDP header."""
ALL = 0xFFFFFFFF
# From asm-generic/socket.h.
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27


def drop_packets_of(senders: Sequence[Sender], udp: socket.socket) -> None:
    """Have the system drop what comes from `senders` to `udp`, and nothing else; Linux only."""
    if sys.platform != "linux":
        return
    program = [*(step for sender in senders for step in _drop(sender)), (RETURN, 0, 0, ALL)]
    steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    # Some sandboxes do without filters; then only the rate is limited.
    with suppress(OSError):
        if senders:
            option = struct.pack("HP", len(program), ctypes.addressof(steps))
            udp.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, option)
        else:
            udp.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def _drop(sender: Sender) -> Iterator[Instruction]:
    """Yield the instructions that drop the packets of `sender` and go on with the rest."""
    checks = list(_checks(sender))
    for number, (load, offset, mask, value) in enumerate(checks):
        yield (load, 0, 0, offset)
        yield (AND, 0, 0, mask)
        yield (JUMP_IF_EQUAL, 0, 3 * (len(checks) - number) - 2, value)
    yield (RETURN, 0, 0, 0)


def _checks(sender: Sender) -> Iterator[tuple[int, int, int, int]]:
    """Yield loads, offsets, masks, and the values that they give in the packets of `sender`."""
    address = ip_address(sender.host.partition("%")[0])
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    at = 8 if isinstance(address, IPv6Address) else 12
    yield (LOAD_BYTE, NETWORK_HEADER, 0xF0, address.version << 4)
    for number, (word,) in enumerate(struct.iter_unpack("!I", address.packed)):
        yield (LOAD_WORD, NETWORK_HEADER + at + 4 * number, ALL, word)
    if sender.port is not None:
        yield (LOAD_HALF, 0, 0xFFFF, sender.port)
