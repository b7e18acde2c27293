"""Client of an engine server that keeps to no rule but QUIC's, and not always to those."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived

from streamcam.runtime.remote.peer import CONTROL_STREAM, MESSAGE, PART, configuration
from streamcam.runtime.remote.wire import PROTOCOL
from streamcam.version import __version__


class HostileClient(QuicConnectionProtocol):
    """Sends whatever it is asked to, and remembers what it was told."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.messages: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.ended = False
        self._text, self._why = b"", ""

    def stream(self, data: bytes, stream: int = CONTROL_STREAM) -> None:
        """Send bytes on a stream."""
        self._quic.send_stream_data(stream, data)
        self.transmit()

    def send_message(self, **message: Any) -> None:
        """Send a control message."""
        self.stream(json.dumps(message).encode() + b"\n")

    def hello(self, token: str, **other: Any) -> None:
        """Say hello, with other content where it is given."""
        usual = {"kind": "hello", "protocol": PROTOCOL, "version": __version__, "for": "frames"}
        self.send_message(**{**usual, "token": token, "client": "hostile", **other})

    def packet(self, data: bytes, kind: bytes = PART) -> None:
        """Send a datagram."""
        self._quic.send_datagram_frame(kind + data)
        self.transmit()

    def message_packet(self, **message: Any) -> None:
        """Send a control message in a datagram."""
        self.packet(json.dumps(message).encode() + b"\n", MESSAGE)

    def stop_acknowledging(self) -> None:
        """Acknowledge no packet any more, though they are read."""
        connection: Any = self._quic
        connection._write_ack_frame = lambda *_arguments, **_options: None

    @property
    def refusal(self) -> str:
        """Why the server refused, or closed the connection; "" if it has not."""
        return next((str(m["text"]) for m in self.messages if m["kind"] == "refused"), self._why)

    async def until(self, kind: str, seconds: float = 10.0) -> None:
        """Wait for a message of this kind, or for the end of the connection."""

        async def wait() -> None:
            while not self.ended and kind not in [m["kind"] for m in self.messages]:
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), seconds)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.ended, self._why = True, event.reason_phrase
        elif isinstance(event, StreamDataReceived):
            *lines, self._text = (self._text + event.data).split(b"\n")
            self.messages += map(json.loads, lines)
        self.changed.set()


@asynccontextmanager
async def hostile_client(port: int) -> AsyncIterator[HostileClient]:
    """Yield a client that has shaken hands with a server on this machine, and said nothing."""
    settings = configuration(is_client=True, idle_s=60.0)
    settings.verify_mode = ssl.CERT_NONE
    manager = connect("127.0.0.1", port, configuration=settings, create_protocol=HostileClient)
    client: Any = await asyncio.wait_for(manager.__aenter__(), 10)
    try:
        yield client
    finally:
        with suppress(Exception):
            await asyncio.wait_for(manager.__aexit__(None, None, None), 0.2)
