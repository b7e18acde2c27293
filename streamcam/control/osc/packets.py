"""OSC packets to messages and back, and packets in a TCP stream: bounded.

python-osc reads and writes single values; bundles are walked here, since a bundle element of
negative size hangs it, and its dispatcher sleeps on time tags and expands patterns.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from pythonosc.osc_message_builder import BuildError, OscMessageBuilder
from pythonosc.parsing import osc_types

from streamcam.control.messages import Argument, Message
from streamcam.errors import StreamcamError

MAX_PACKET = 8192
"""Bytes."""
MAX_MESSAGES = 256
MAX_DEPTH = 8

BUNDLE = b"#bundle\0"
BUNDLE_HEADER = len(BUNDLE) + 8
"""Bytes of the word and the time tag."""
IMMEDIATELY = 1
"""The time tag that stands for "now"."""


class PacketError(StreamcamError):
    """A packet is not OSC, or exceeds the limits."""


class Unreadable(NamedTuple):
    """A message in a bundle that cannot be read, such as one for another program."""

    address: str
    """Empty if that cannot be read either."""
    reason: str


class Part(NamedTuple):
    """Messages of a packet that belong together: those of one time."""

    time_tag: int
    """NTP time in 2^-32 seconds; `IMMEDIATELY` outside of a bundle."""
    messages: list[Message]


Reader = Callable[[bytes, int], tuple[Any, int]]

READERS: dict[str, Reader] = {
    "i": osc_types.get_int,
    "c": osc_types.get_int,
    "r": osc_types.get_int,
    "m": osc_types.get_int,
    "h": osc_types.get_int64,
    "t": osc_types.get_int64,
    "f": osc_types.get_float,
    "d": osc_types.get_double,
    "s": osc_types.get_string,
    "S": osc_types.get_string,
}
CONSTANTS: dict[str, Argument] = {"T": True, "F": False, "I": True, "N": None}
BRACKETS = "[]"


def read_packet(packet: bytes, unreadable: list[Unreadable] | None = None) -> list[Message]:
    """Return the messages of `packet` in their order, whatever their time; see `read_parts`."""
    return [message for part in read_parts(packet, unreadable) for message in part.messages]


def read_parts(packet: bytes, unreadable: list[Unreadable] | None = None) -> list[Part]:
    """Return the messages of `packet` in their order, those of one time and bundle together.

    A bundle within another is due at the later of their times. Arrays are read as the values in
    them, impulses (I) as true. A message of a bundle that is framed well but cannot be read is
    left out, since it may be for another program, and added to `unreadable`.

    Raises:
        PacketError: it is malformed or too large; no part of it may be used.
    """
    if len(packet) > MAX_PACKET:
        raise PacketError(f"a packet takes at most {MAX_PACKET} bytes, not {len(packet)}")
    left_out: list[Unreadable] = [] if unreadable is None else unreadable
    parts: list[Part] = []
    unread = [(packet, 0, IMMEDIATELY)]
    count = 0
    while unread:
        element, depth, time_tag = unread.pop()
        if element.startswith(BUNDLE):
            if depth == MAX_DEPTH:
                raise PacketError(f"bundles are nested more than {MAX_DEPTH} deep")
            own = int.from_bytes(element[len(BUNDLE) : BUNDLE_HEADER], "big")
            inner = [(part, depth + 1, max(time_tag, own)) for part in _elements(element)]
            unread += reversed(inner)
        else:
            count += 1
            try:
                message = _read_message(element)
            except PacketError as error:
                if not depth:
                    raise
                left_out.append(Unreadable(_read_address(element), str(error)))
            else:
                _add(parts, time_tag, message)
        if count + len(unread) > MAX_MESSAGES:
            raise PacketError(f"a bundle takes at most {MAX_MESSAGES} messages")
    return parts


def _add(parts: list[Part], time_tag: int, message: Message) -> None:
    """Add a message to the last part, if that has the same time, else as another part."""
    if not parts or parts[-1].time_tag != time_tag:
        parts.append(Part(time_tag, []))
    parts[-1].messages.append(message)


def _read_address(element: bytes) -> str:
    """Return the address of a message, empty if it has none."""
    if element.startswith(b"/"):
        with suppress(UnicodeDecodeError, osc_types.ParseError):
            return str(osc_types.get_string(element, 0)[0])
    return ""


def _elements(bundle: bytes) -> Iterator[bytes]:
    """Yield the elements of a bundle."""
    if len(bundle) < BUNDLE_HEADER:
        raise PacketError("a bundle ends within its time tag")
    at = BUNDLE_HEADER
    while at < len(bundle):
        # A size that is 0 or negative would never lead to the end.
        size = int.from_bytes(bundle[at : at + 4], "big", signed=True)
        at += 4
        if size <= 0 or size % 4 or at + size > len(bundle):
            raise PacketError(f"a bundle holds an element of {size} bytes")
        yield bundle[at : at + size]
        at += size


def _read_message(element: bytes) -> Message:
    if not element.startswith(b"/"):
        raise PacketError("it begins with neither / nor #bundle")
    if len(element) % 4:
        raise PacketError(f"a message has a length by 4, not {len(element)}")
    try:
        address, at = osc_types.get_string(element, 0)
        if at == len(element):
            return Message(address)
        tags, at = osc_types.get_string(element, at)
        return Message(address, tuple(_read_arguments(element, tags, at)))
    except UnicodeDecodeError:
        raise PacketError("a text is not UTF-8") from None
    except osc_types.ParseError as error:
        raise PacketError(f"a message ends too early: {error}") from None


def _read_arguments(element: bytes, tags: str, at: int) -> Iterator[Argument]:
    if not tags.startswith(","):
        raise PacketError("a message has no type tags")
    for tag in tags[1:]:
        if tag in CONSTANTS:
            yield CONSTANTS[tag]
        elif tag in READERS:
            value, at = READERS[tag](element, at)
            # python-osc reads a float beyond the end as 0.
            if at > len(element):
                raise PacketError("a message ends within a value")
            yield value
        elif tag not in BRACKETS:
            raise PacketError(f"a message holds a value of type {tag!r}")


def write_packet(message: Message, tags: str = "") -> bytes:
    """Return `message` as a packet; true and false go out as 1 and 0, which every client reads.

    Args:
        message: its arguments are sent as the types they have.
        tags: types to send the arguments as instead: i, h, f, s, and T for true or false.

    Raises:
        PacketError: it holds a value that OSC cannot carry.
    """
    builder = OscMessageBuilder(message.address)
    for place, argument in enumerate(message.arguments):
        builder.add_arg(*_typed(argument, tags[place : place + 1]))
    try:
        return bytes(builder.build().dgram)
    except BuildError as error:
        raise PacketError(str(error)) from None


def _typed(argument: Argument, tag: str) -> tuple[Any, str | None]:
    """Return `argument` and the tag to write it with, None for that of its own type."""
    if argument is not None and tag in CONVERTED:
        return CONVERTED[tag](argument), None if tag == "T" else tag
    return _writable(argument), None


def _writable(argument: Argument) -> Argument:
    if isinstance(argument, str):
        # A text ends at its first NUL, and the rest would be read as the next value.
        return argument.replace("\0", "")
    return int(argument) if isinstance(argument, bool) else argument


CONVERTED: dict[str, Callable[[Any], Argument]] = {"i": int, "h": int, "f": float, "T": bool}

END, ESC, ESC_END, ESC_ESC = b"\xc0", b"\xdb", b"\xdc", b"\xdd"


class PacketStream:
    """Packets of one TCP connection: preceded by their length (OSC 1.0), or SLIP (OSC 1.1).

    The first byte from the client decides which.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._slip: bool | None = None

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Yield the packets that `received` completes.

        Raises:
            PacketError: a packet is too large, or not framed; the rest cannot be read.
        """
        self._buffer += received
        if self._slip is None and self._buffer:
            # No length that is allowed begins with anything but 0.
            self._slip = self._buffer[0] != 0
        yield from self._by_slip() if self._slip else self._by_length()

    def wrap(self, packet: bytes) -> bytes:
        """Return `packet` framed in the way the client frames its own."""
        if self._slip:
            packet = packet.replace(ESC, ESC + ESC_ESC).replace(END, ESC + ESC_END)
            return END + packet + END
        return len(packet).to_bytes(4, "big") + packet

    def _by_length(self) -> Iterator[bytes]:
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if not 0 < size <= MAX_PACKET:
                raise PacketError(f"a packet takes 1 to {MAX_PACKET} bytes, not {size}")
            if len(self._buffer) < 4 + size:
                return
            packet, self._buffer = self._buffer[4 : 4 + size], self._buffer[4 + size :]
            yield packet

    def _by_slip(self) -> Iterator[bytes]:
        *packets, self._buffer = self._buffer.split(END)
        if len(self._buffer) > 2 * MAX_PACKET:
            raise PacketError(f"a packet takes at most {MAX_PACKET} bytes")
        for packet in filter(None, packets):
            yield packet.replace(ESC + ESC_END, END).replace(ESC + ESC_ESC, ESC)
