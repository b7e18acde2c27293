"""Limits on the connections of the preview: how long each may wait, and how many there may be."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from streamcam.limits import RateLimiter, client_to_evict

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 64
MAX_PER_HOST = 32
MAX_STREAMS = 16
ACCEPTED_AT_ONCE = 32
"""Connections that the system may hand over before the first of them can be refused."""
REQUEST_S = 10.0
"""Seconds within which a client has to send a whole request."""
FRAMES_PER_SECOND = 10
FRAMES_AT_ONCE = 200
"""Frames of a WebSocket that are no messages of their own: pings, pongs and continuations."""
UNREAD_S = 30.0
"""Seconds without reading after which the connection of a WebSocket is closed."""
STALLED_S = 2.0
"""Seconds without reading after which a stream makes room for another."""
SWEEP_S = 1.0
WARNING_S = 60.0
"""Seconds between two lines about the same host."""

Client = tuple[str, int]
"""Address of a client's socket."""


class Connection(H11Protocol):
    """One connection of a client, which knows since when the client has kept it waiting."""

    streaming = False
    """Whether it is sent an MJPEG stream."""

    def __init__(self, connections: "Connections", *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connections = connections
        self._request_since = self._now()
        self._unread_since: float | None = None

    @property
    def host(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def waiting_since(self) -> float | None:
        """Time since when the client has neither read nor sent a whole request; None if it does."""
        if self._is_answering:
            return self._unread_since
        return self._request_since

    def is_overdue(self) -> bool:
        """Return whether the client has taken too long for its request, or to read the answer."""
        return not self._is_answering and self._now() - self._request_since > REQUEST_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        _send_at_once(transport)
        self._connections.add(self)

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hand the connection to a `SocketConnection`, which counts instead of this one."""
        self._connections.remove(self)
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._unread_since = self._now()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unread_since = None
        super().resume_writing()

    def on_response_complete(self) -> None:
        self.streaming = False
        self._request_since = self._now()
        super().on_response_complete()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _now(self) -> float:
        return self.loop.time()


class SocketConnection(WebSocketsSansIOProtocol):
    """One connection that has become a WebSocket."""

    streaming = False

    def __init__(self, connections: "Connections", *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connections = connections
        self._unread_since: float | None = None
        self._frame_rate = RateLimiter(FRAMES_PER_SECOND, FRAMES_AT_ONCE)

    @property
    def host(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def waiting_since(self) -> float | None:
        """Time since when the client has not read what is sent to it; None if it does."""
        return self._unread_since

    def is_overdue(self) -> bool:
        """Return whether the client has not read for so long that it is taken to be gone."""
        since = self._unread_since
        return since is not None and self.loop.time() - since > UNREAD_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unread_since = None
        super().resume_writing()

    def handle_ping(self) -> None:
        if self._unread_since is None:
            super().handle_ping()
        else:
            # Answers pile up where nobody reads them.
            self.conn.data_to_send()
        self._count_frame()

    def handle_pong(self, event: Any) -> None:
        super().handle_pong(event)
        self._count_frame()

    def handle_cont(self, event: Any) -> None:
        super().handle_cont(event)
        self._count_frame()

    def _count_frame(self) -> None:
        """End the connection over more frames than any client has a use for."""
        if not self._frame_rate.take("frame"):
            self._connections.end_flood(self)

    def send_receive_event_to_app(self) -> None:
        """Hand on a whole message; end the connection over a text that is none.

        The server would log that with a traceback, which is no bug of ours.
        """
        try:
            if self.curr_msg_data_type == "text":
                b"".join(self.frames).decode()
        except UnicodeDecodeError:
            self.frames = []
            self.conn.send_close(1007, "text that is not UTF-8")
            self.handle_parser_exception()
            return
        super().send_receive_event_to_app()


def _send_at_once(transport: asyncio.BaseTransport) -> None:
    """Send what is written at once, rather than when the client has confirmed what came before.

    asyncio does so too, but not for connections to a socket that was made elsewhere.
    """
    with suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


AnyConnection = Connection | SocketConnection


class Connections:
    """All connections, at most `MAX_CONNECTIONS`, of which `MAX_STREAMS` are sent streams.

    Those of one host are at most `MAX_PER_HOST`. One more takes the place of one whose client has
    kept it waiting, or of a host that has more than its share; else it is refused.
    """

    def __init__(self) -> None:
        self._open: set[AnyConnection] = set()
        self._warnings = RateLimiter(1 / WARNING_S, 1)

    def __iter__(self) -> Iterator[AnyConnection]:
        return iter(list(self._open))

    def add(self, connection: AnyConnection) -> None:
        """Add a new connection, or close it if there is no room."""
        host = connection.host
        of_host = [open_ for open_ in self if open_.host == host]
        if len(of_host) >= MAX_PER_HOST:
            has_room = self._make_room(of_host, host, patience_s=0.0)
        elif len(self._open) >= MAX_CONNECTIONS:
            has_room = self._make_room(list(self), host, patience_s=0.0)
        else:
            has_room = True
        self._open.add(connection)
        if not has_room:
            self._close(connection)

    def remove(self, connection: AnyConnection) -> None:
        """Remove a connection that is closed."""
        self._open.discard(connection)

    def admit_stream(self, client: Client | None) -> bool:
        """Return whether `client` may be sent a stream, having ended another one if need be."""
        connection = next((other for other in self if other.client == client), None)
        if connection is None:
            return False
        streams = [other for other in self if other.streaming]
        if len(streams) >= MAX_STREAMS and not self._make_room(
            streams, connection.host, patience_s=STALLED_S
        ):
            return False
        connection.streaming = True
        return True

    def end_flood(self, connection: SocketConnection) -> None:
        """Close the connection of a client that floods it."""
        if self._warnings.take((connection.host, "flood")):
            log.warning("the preview has disconnected %s, which floods it", connection.host)
        self._close(connection)

    async def watch(self) -> None:
        """Close connections that are overdue, without end."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for connection in self:
                if connection.is_overdue():
                    self._close(connection)

    def _make_room(self, candidates: list[AnyConnection], host: str, *, patience_s: float) -> bool:
        now = asyncio.get_running_loop().time()
        freed = client_to_evict(candidates, host, now, patience_s=patience_s)
        if freed is not None:
            self._close(freed)
        if self._warnings.take(host):
            log.warning(
                "the preview has many connections, %d of them of %s; some are closed",
                sum(connection.host == host for connection in self),
                host,
            )
        return freed is not None

    def _close(self, connection: AnyConnection) -> None:
        # Not in order: whoever does not read would keep it open.
        self.remove(connection)
        connection.transport.abort()
