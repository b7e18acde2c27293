"""The preview: a page in the browser, and the picture as MJPEG for whatever shows that."""

import asyncio
import errno
import os
import socket
import threading
from typing import TYPE_CHECKING, Self

from streamcam.errors import DeviceError
from streamcam.sinks.preview.mjpeg import FrameNotifier, LatestJpeg
from streamcam.types import BroadcastView, Frame, Image

if TYPE_CHECKING:
    from uvicorn import Server

# A reader that is slow shall be behind by a picture or two, not by the megabytes that the
# system would gladly hold for it.
SEND_BUFFER_BYTES = 256 * 1024
GRACE_S = 0.4


class Preview:
    """Serves the newest picture and what came in; `send` only leaves a note for the server.

    Args:
        bind: address or name to listen on; 127.0.0.1 keeps it to this machine.
        port: 0 takes a free one.
        view: what came in, and how the broadcast fares.

    Raises:
        DeviceError: when entered, where it cannot listen there.
    """

    def __init__(self, bind: str, port: int, view: BroadcastView) -> None:
        self._bind = bind
        self._port = port
        self._view = view
        self._frame: Frame | None = None
        self._ticker = FrameNotifier()
        self.pictures: dict[str, LatestJpeg] = {}
        """By name: ``after`` what goes out, ``before`` what came in."""
        self.url = _url(bind, port)
        """Where the page is; the port is known for sure once the sink is entered."""

    def __enter__(self) -> Self:
        self._socket = _listening(self._bind, self._port)
        self.url = _url(*self._socket.getsockname()[:2])
        self._ticker = FrameNotifier()
        self.pictures = {"after": LatestJpeg(self._after), "before": LatestJpeg(self._before)}
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="preview", daemon=True
        )
        self._thread.start()
        started.wait()
        return self

    def send(self, frame: Frame) -> None:
        """Let those who watch see `frame`; never waits for them."""
        self._frame = frame
        if not self._thread.is_alive():
            raise DeviceError(f"the preview at {self.url} has stopped")
        if self._ticker.watched:
            self._loop.call_soon_threadsafe(self._ticker.tick)

    def __exit__(self, *exception: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._ticker.close)
        self._thread.join()
        self._socket.close()

    def _after(self) -> Image | None:
        return None if self._frame is None else self._frame.image

    def _before(self) -> Image | None:
        frame = self._view.input_frame()
        return None if frame is None else frame.image

    async def _serve(self, started: threading.Event) -> None:
        try:
            # Imported here, in this thread: a broadcast that nobody previews shall not pay for it.
            import uvicorn

            from streamcam.sinks.preview.web import application

            self._loop = asyncio.get_running_loop()
            site = application(self.pictures, self._ticker, self._view, self._socket, self._bind)
            server = uvicorn.Server(
                uvicorn.Config(
                    site,
                    http="h11",
                    ws="none",
                    lifespan="off",
                    log_config=None,
                    log_level="error",
                    access_log=False,
                    server_header=False,
                    limit_concurrency=64,
                )
            )
            serving = asyncio.create_task(server.serve(sockets=[self._socket]))
        finally:
            started.set()
        closed = asyncio.create_task(self._ticker.closed())
        # A server that ends before it is told to has failed: its error comes out below.
        await asyncio.wait([serving, closed], return_when=asyncio.FIRST_COMPLETED)
        await _stopped(server, serving)


async def _stopped(server: "Server", serving: "asyncio.Task[None]") -> None:
    """End the server: streams end by themselves, and those stuck with their reader are cut."""
    server.should_exit = True
    await asyncio.wait([serving], timeout=GRACE_S)
    for connection in list(server.server_state.connections):
        connection.transport.abort()
    await serving


def _listening(bind: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        listener = socket.create_server((str(address[0]), int(address[1])), family=family)
    except OSError as error:
        raise DeviceError(f"cannot open the preview on {bind}:{port}: {_remedy(error)}") from None
    # Connections inherit it.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return listener


def _url(host: str, port: int) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _remedy(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "no such address; set one with --set preview_bind=127.0.0.1"
    if error.errno == errno.EADDRINUSE:
        return "the port is in use; choose another with --preview-port, or 0 for a free one"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; set another with --set preview_bind"
    if error.errno == errno.EACCES:
        return "not permitted; choose a port from 1024 on with --preview-port"
    return os.strerror(error.errno) if error.errno else str(error)
