"""One end of a connection: control messages in order, frames each on a stream of its own.

QUIC encrypts both, sends again what is lost, and lets no lost packet of one frame hold up another
frame. A frame counts as on its way until the other side says that it has it, or until it is too
old; while a few are, no other one is sent. What waits meanwhile is replaced by what is newer.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Protocol

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset

from streamcam.runtime.remote import congestion
from streamcam.runtime.remote.wire import (
    ALPN,
    MAX_FRAME,
    Lines,
    Message,
    WireError,
    message_bytes,
)

CONTROL_STREAM = 0
"""The first stream that a client opens."""
ON_THE_WAY = 6
"""Frames on their way at a time: 30 a second fill a round trip of 200 ms."""
TOO_OLD_S = 0.6
"""Seconds after which a frame is given up that has not arrived."""
INCOMPLETE = 24
"""Frames that may come in at a time; another streamcam sends no more than `ON_THE_WAY`."""
MAX_MESSAGES = 64
"""Control messages that may come in one piece: more is a flood."""


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
        self._lines = Lines()
        self._incoming: dict[int, bytearray] = {}
        self._on_the_way: dict[int, float] = {}
        self._room = threading.Condition()
        self._ended = False

    def send(self, kind: str, **content: Any) -> None:
        """Send a control message."""
        self._send_data(CONTROL_STREAM, message_bytes({"kind": kind, **content}), end=False)

    def send_frame(self, data: bytes) -> None:
        """Send a frame."""
        stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
        with self._room:
            self._on_the_way[stream] = self._loop.time()
        self._loop.call_later(TOO_OLD_S, self._give_up, stream)
        self._send_data(stream, data, end=True)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait, in any thread, until another frame may be sent; return whether it may."""
        with self._room:
            return self._room.wait_for(self._has_room, timeout_s) and not self._ended

    def refuse(self, reason: str) -> None:
        """Tell the other side why, and end the connection."""
        self.send("refused", text=reason[:1000])
        self._loop.call_later(0.2, self.close)

    def _has_room(self) -> bool:
        return self._ended or len(self._on_the_way) < ON_THE_WAY

    def _send_data(self, stream: int, data: bytes, *, end: bool) -> None:
        if not self._ended:
            self._quic.send_stream_data(stream, data, end_stream=end)
            self.transmit()

    def _give_up(self, stream: int) -> None:
        if self._arrived(stream) and not self._ended:
            self._quic.reset_stream(stream, 0)
            self.transmit()

    def _arrived(self, stream: int) -> bool:
        """Make room for the frame after that of `stream`; return whether it was on its way."""
        with self._room:
            was = self._on_the_way.pop(stream, None)
            self._room.notify_all()
        return was is not None

    # ---- what comes in

    def quic_event_received(self, event: QuicEvent) -> None:
        try:
            self._take(event)
        except WireError as error:
            self.refuse(str(error))
            self._end(str(error))

    def _take(self, event: QuicEvent) -> None:
        match event:
            case StreamDataReceived(stream_id=stream) if stream == CONTROL_STREAM:
                messages = self._lines.feed(event.data)
                if len(messages) > MAX_MESSAGES:
                    raise WireError("too many messages came at once")
                for message in messages:
                    self._take_message(message)
            case StreamDataReceived(stream_id=stream):
                self._take_part(stream, event.data, end=event.end_stream)
            case StreamReset(stream_id=stream):
                self._incoming.pop(stream, None)
            case ConnectionTerminated():
                self._end(event.reason_phrase)

    def _take_message(self, message: Message) -> None:
        if message["kind"] == "got":
            self._arrived(int(message.get("stream", -1)))
        elif self.listener and not self._ended:
            self.listener.on_message(message)

    def _take_part(self, stream: int, data: bytes, *, end: bool) -> None:
        if stream not in self._incoming and len(self._incoming) >= INCOMPLETE:
            raise WireError("too many frames came at once")
        part = self._incoming.setdefault(stream, bytearray())
        part += data
        if len(part) > MAX_FRAME:
            raise WireError("a frame is too large")
        if end:
            del self._incoming[stream]
            self.send("got", stream=stream)
            if self.listener and not self._ended:
                self.listener.on_frame(bytes(part))

    def _end(self, reason: str) -> None:
        was, self._ended = self._ended, True
        with self._room:
            self._room.notify_all()
        if not was and self.listener:
            self.listener.on_end(reason)


def configuration(*, is_client: bool, idle_s: float) -> QuicConfiguration:
    """Return what both sides have in common; `idle_s` without a packet end a connection."""
    return QuicConfiguration(
        is_client=is_client,
        alpn_protocols=[ALPN],
        congestion_control_algorithm=congestion.NAME,
        idle_timeout=idle_s,
        max_data=4 * MAX_FRAME,
        max_stream_data=MAX_FRAME,
    )


def soon(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *args: Any) -> None:
    """Call a function in the event loop, from any thread; do nothing once that is closed."""
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
