"""One end of a connection: control messages in order, frames as soon as they are there.

QUIC encrypts both. Control messages are sent again until they arrive. A frame goes out in datagrams
that nothing holds up, with parity where packets are lost; what parity cannot make again is asked
for once. While a few frames are in flight, or the network has had no room for all of the last one,
no other one is sent, and what waits meanwhile is replaced by what is newer: no queue grows.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any, Protocol

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    QuicEvent,
    StreamDataReceived,
)

from streamcam.runtime.remote import congestion
from streamcam.runtime.remote.chunks import HEADER, Assembly, chunks_of, count_of
from streamcam.runtime.remote.rate_limit import RateLimit
from streamcam.runtime.remote.wire import ALPN, Lines, Message, WireError, message_bytes

CONTROL_STREAM = 0
"""The first stream that a client opens."""
IN_FLIGHT = 6
"""Frames in flight at a time: 30 a second fill a round trip of 200 ms."""
TOO_OLD_S = 0.5
"""Seconds after which a frame is given up that has not arrived."""
PARITY_FRAMES = 300
"""Frames with parity after one of which a part was lost."""
MOST_MESSAGES = 2000
MOST_FPS = 500
"""Control messages and frames in a second that may come: more is a flood."""
MOST_WAITING = 100
"""Datagrams that wait for the network, from which on a message that may be lost is not sent."""
STUCK_S = 10.0
"""Seconds with no room in the network after which the other side counts as gone."""
MOST_ASKED = 100
"""Chunks of a frame that are asked for: the numbers of more would not fit a packet."""
PART, MESSAGE = b"\0", b"\1"
"""First byte of a datagram."""
MAX_PACKET = 1300
MAX_DATAGRAM = 65_536
MAX_DATA = 4_000_000
RECEIVE_BUFFER = 1 << 22
"""Bytes that may wait in the socket: at Linux's 212,992 a frame of 90 packets can overflow it."""


class Listener(Protocol):
    """Takes what the other side sends, in the event loop."""

    def on_message(self, message: Message) -> None:
        """Take a control message; raise WireError if it is none that may come."""

    def on_frame(self, data: bytes) -> None:
        """Take a frame; raise WireError if it is none that may come."""

    def on_end(self, reason: str) -> None:
        """Take the end of the connection; nothing comes after it."""


class Peer(QuicConnectionProtocol):
    """Sends and receives messages and frames; lives in an event loop, but for `wait_for_room`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.listener: Listener | None = None
        self.takes_frames = False
        """Whether the other side is known, so that memory is spent on what it sends."""
        self._lines = Lines()
        self._number = 0
        self._sent: dict[int, list[bytes]] = {}
        self._room = threading.Condition()
        self._parity_until = 0
        self._incoming: dict[int, Assembly] = {}
        self._newest_done = -1
        self._asked: set[int] = set()
        self._ended = False
        self._waits_since: float | None = None
        """Since when something has waited for the network all the time; None while nothing does."""
        self._messages = RateLimit(MOST_MESSAGES, "messages")
        self._frames = RateLimit(MOST_FPS, "frames")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # As much of it as the system allows; asking for too much is no error.
        opened = transport.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def send(self, kind: str, **content: Any) -> None:
        """Send a control message."""
        if not self._ended:
            self._quic.send_stream_data(CONTROL_STREAM, message_bytes({"kind": kind, **content}))
            self.transmit()

    def send_once(self, kind: str, **content: Any) -> None:
        """Send a control message that nothing holds up, and that may be lost."""
        if not self._ended and self._waiting() < MOST_WAITING:
            self._quic.send_datagram_frame(MESSAGE + message_bytes({"kind": kind, **content}))
            self.transmit()

    def send_frame(self, data: bytes) -> None:
        """Send a frame."""
        if self._ended:
            return
        self._number += 1
        packets = chunks_of(self._number, data, parity=self._number < self._parity_until)
        with self._room:
            self._sent[self._number] = packets[: count_of(len(data))]
        self._loop.call_later(TOO_OLD_S, self._forget, self._number)
        self._send_packets(packets)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait, in any thread, until another frame may be sent; return whether it may."""
        with self._room:
            return self._room.wait_for(self._has_room, timeout_s) and not self._ended

    def refuse(self, reason: str) -> None:
        """Tell the other side why, and end the connection."""
        try:
            self.send("refused", text=reason[:1000])
        except ValueError:  # A client that has opened no stream for it.
            self.close(reason_phrase=reason[:200])
        else:
            self._loop.call_later(0.2, self.close)

    def transmit(self) -> None:
        """Send what the network has room for."""
        super().transmit()
        if not self._waiting():
            self._waits_since = None
            with self._room:
                self._room.notify_all()
            return
        now = self._loop.time()
        self._waits_since = self._waits_since or now
        if now - self._waits_since > STUCK_S and not self._ended:
            self._end(f"nothing that was sent arrived for {STUCK_S:.0f} s")
            self.close()

    def _waiting(self) -> int:
        """Return how many datagrams wait for room in the network."""
        return len(self._quic._datagrams_pending)

    def _has_room(self) -> bool:
        return self._ended or (len(self._sent) < IN_FLIGHT and not self._waiting())

    def _send_packets(self, packets: list[bytes]) -> None:
        for packet in packets:
            self._quic.send_datagram_frame(PART + packet)
        self.transmit()

    def _forget(self, number: int) -> None:
        """Give up the frame `number`, and those before it."""
        with self._room:
            for old in [n for n in self._sent if n <= number]:
                del self._sent[old]
            self._room.notify_all()

    # ---- what comes in

    def quic_event_received(self, event: QuicEvent) -> None:
        if self._ended:
            return
        try:
            self._take(event)
        except WireError as error:
            self._refuse_for_good(str(error))
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            # A value of another type, or out of range: the event loop would only log it.
            self._refuse_for_good(f"what came makes no sense: {error!s:.200}")

    def _refuse_for_good(self, reason: str) -> None:
        self.refuse(reason)
        self._end(reason)

    def _take(self, event: QuicEvent) -> None:
        match event:
            case DatagramFrameReceived(data=data) if data[:1] == MESSAGE:
                for message in Lines().feed(data[1:]):
                    self._take_message(message)
            case DatagramFrameReceived():
                self._take_packet(event.data[1:])
            case StreamDataReceived(stream_id=stream) if stream == CONTROL_STREAM:
                for message in self._lines.feed(event.data):
                    self._take_message(message)
            case StreamDataReceived():
                raise WireError("a stream came that nobody opens")
            case ConnectionTerminated():
                self._end(event.reason_phrase)

    def _take_message(self, message: Message) -> None:
        self._messages.count(self._loop.time())
        match message["kind"]:
            case "got":
                if message.get("lossy"):
                    self._parity_until = self._number + PARITY_FRAMES
                self._forget(_whole(message.get("frame")))
            case "again":
                self._parity_until = self._number + PARITY_FRAMES
                self._send_again(_whole(message.get("frame")), message.get("chunks"))
            case _ if self.listener and not self._ended:
                self.listener.on_message(message)

    def _send_again(self, number: int, chunks: Any) -> None:
        packets = self._sent.get(number, [])
        wanted = chunks if isinstance(chunks, list) else []
        self._send_packets(
            [packets[i] for i in wanted if isinstance(i, int) and 0 <= i < len(packets)]
        )

    def _take_packet(self, packet: bytes) -> None:
        if len(packet) <= HEADER.size:
            raise WireError("a part of a frame was cut off")
        number, size, index = HEADER.unpack_from(packet)
        if number <= self._newest_done or self._ended or not self.takes_frames:
            return
        if number not in self._incoming:
            self._begin(number, size)
        frame = self._incoming[number]
        if frame.size == size and frame.add(index, packet[HEADER.size :]):
            self._finish(number, frame)
        elif index == frame.count - 1 or index >= frame.count:
            self._ask_again_soon(number)

    def _begin(self, number: int, size: int) -> None:
        """Make room for a frame; those that were given up at the other end are too."""
        self._frames.count(self._loop.time())
        for earlier in list(self._incoming):
            self._ask_again(earlier)
        self._incoming[number] = Assembly(size)
        while len(self._incoming) > IN_FLIGHT:
            self._drop(min(self._incoming))

    def _finish(self, number: int, frame: Assembly) -> None:
        lossy = frame.has_lost or number in self._asked
        self._newest_done = number
        for old in [n for n in self._incoming if n <= number]:
            self._drop(old)
        self.send_once("got", frame=number, lossy=lossy)
        if self.listener:
            self.listener.on_frame(frame.data())

    def _drop(self, number: int) -> None:
        self._incoming.pop(number, None)
        self._asked.discard(number)

    def _ask_again_soon(self, number: int) -> None:
        """Ask for what is missing once the packets that overtook each other must be here."""
        self._loop.call_later(0.003, self._ask_again, number)

    def _ask_again(self, number: int) -> None:
        frame = self._incoming.get(number)
        if frame is None or number in self._asked or self._ended:
            return
        self._asked.add(number)
        self.send_once("again", frame=number, chunks=list(frame.missing())[:MOST_ASKED])

    def _end(self, reason: str) -> None:
        was, self._ended = self._ended, True
        with self._room:
            self._room.notify_all()
        if not was and self.listener:
            self.listener.on_end(reason)


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise WireError("a frame has no number")
    return value


def configuration(*, is_client: bool, idle_s: float) -> QuicConfiguration:
    """Return what both sides have in common; `idle_s` without a packet end a connection."""
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        congestion_control_algorithm=congestion.NAME,
        idle_timeout=idle_s,
        max_data=MAX_DATA,
        max_stream_data=MAX_DATA,
        max_datagram_frame_size=MAX_DATAGRAM,
        max_datagram_size=MAX_PACKET,
    )


def soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> None:
    """Call a function in the event loop, from any thread; do nothing once that is closed."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
