"""Preview sink: a web page that shows the output and the camera, and both as MJPEG."""

import asyncio
import errno
import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from streamcam.errors import DeviceError, one_line
from streamcam.limits import RateLimiter
from streamcam.sinks.preview.mjpeg import FrameNotifier, LatestJpeg
from streamcam.system.network import endpoint, page_url
from streamcam.types import BroadcastView, Frame, Image

if TYPE_CHECKING:
    from uvicorn import Server

log = logging.getLogger(__name__)

# A slow viewer shall be behind by a frame or two, not by the megabytes that the system would
# buffer for it.
SEND_BUFFER_BYTES = 256 * 1024
STOP_S = 0.4
MAX_PORT = 65535
MAX_MESSAGE_BYTES = 64 * 1024
"""Longest message of a WebSocket client; more closes the connection."""
FAULTS_PER_SECOND = 0.1
FAULTS_AT_ONCE = 5
"""Faults of connections that are logged; when descriptors run out, there are thousands."""


class Preview:
    """Serves the newest output and the newest input; `send` only notifies the server.

    Args:
        bind: address or name to listen on; 127.0.0.1 keeps it to this machine.
        port: TCP port; 0 takes a free one.
        view: gives the newest input frame and the status of the broadcast.
        tries: number of ports to try, from `port` on; the first that is free is taken.

    Raises:
        DeviceError: when entered, where it cannot listen there.
    """

    def __init__(self, bind: str, port: int, view: BroadcastView, *, tries: int = 1) -> None:
        self._bind = bind
        self._port = port
        self._ports = list(range(port, min(port + tries, MAX_PORT + 1)))
        self._view = view
        self._failure: BaseException | None = None
        self._faults = RateLimiter(FAULTS_PER_SECOND, FAULTS_AT_ONCE)
        self._frame: Frame | None = None
        self._notifier = FrameNotifier()
        self.images: dict[str, LatestJpeg] = {}
        """By name: the output ``after``, the input ``before``, and what ControlNets are shown."""
        self.url = page_url(bind, port)
        """Address of the page; the port is final once the sink is entered."""

    def __enter__(self) -> Self:
        self._socket = _listen(self._bind, self._ports)
        address, port = self._socket.getsockname()[:2]
        self.url = page_url(address, port)
        if not self._port:
            log.info("preview page %s", self.url)
        elif port != self._ports[0]:
            log.info("port %d is in use, so the preview page is %s", self._ports[0], self.url)
            # Opened again after an error, it is where the viewers of the page expect it.
            self._ports.sort(key=lambda other: other != port)
        self._notifier = FrameNotifier()
        self.images = {
            "after": LatestJpeg(self._output_image),
            "before": LatestJpeg(self._input_image),
            "control": LatestJpeg(self._view.control_image),
        }
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="preview", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as error:
            self._socket.close()
            raise DeviceError(f"cannot open the preview: {error}") from None
        started.wait()
        if self._failure is not None:
            self._thread.join()
            self._socket.close()
            raise DeviceError(f"cannot open the preview: {one_line(self._failure)}")
        return self

    def send(self, frame: Frame) -> None:
        """Show `frame` to the viewers, without waiting for them.

        Raises:
            DeviceError: the server has stopped.
        """
        self._frame = frame
        if not self._thread.is_alive():
            raise DeviceError(f"the preview at {self.url} has stopped")
        if self._notifier.viewers:
            self._call(self._notifier.notify)

    def __exit__(self, *exception: object) -> None:
        if self._thread.is_alive():
            self._call(self._notifier.close)
        self._thread.join()
        self._socket.close()

    def _output_image(self) -> Image | None:
        return None if self._frame is None else self._frame.image

    def _input_image(self) -> Image | None:
        frame = self._view.input_frame()
        return None if frame is None else frame.image

    def _call(self, function: Callable[[], None]) -> None:
        """Call `function` in the thread of the server."""
        # The server may end at any time, and `send` reports that it has.
        with suppress(RuntimeError):
            self._event_loop.call_soon_threadsafe(function)

    def _run(self, started: threading.Event) -> None:
        """Serve until the sink is closed; whatever ends it before is logged, and ends the sink."""
        self._failure = None
        try:
            asyncio.run(self._serve(started))
        except BaseException as error:
            self._failure = error
            if started.is_set():
                log.error("the preview at %s has stopped", self.url, exc_info=error)
        finally:
            # Without descriptors, say, not even an event loop can be made.
            started.set()

    def _log_fault(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log a fault of one connection, which ends nothing else."""
        error = context.get("exception")
        if self._faults.take("fault"):
            reason = one_line(error) if error else "no reason given"
            trace = None if isinstance(error, OSError) else error
            log.warning("preview: %s: %s", context["message"], reason, exc_info=trace)

    async def _serve(self, started: threading.Event) -> None:
        # Imported here, in this thread: a broadcast without a preview shall not pay for it.
        import uvicorn

        from streamcam.sinks.preview.connections import (
            ACCEPTED_AT_ONCE,
            Connection,
            Connections,
            SocketConnection,
        )
        from streamcam.sinks.preview.web import application

        self._event_loop = asyncio.get_running_loop()
        self._event_loop.set_exception_handler(self._log_fault)
        connections = Connections()
        site = application(
            self.images,
            self._notifier,
            self._view,
            self._socket,
            self._bind,
            connections,
            self._view.web_tokens(),
        )
        server = uvicorn.Server(
            uvicorn.Config(
                site,
                # Called to make a connection, as a class would be.
                http=partial(Connection, connections),  # type: ignore[arg-type]
                ws=partial(SocketConnection, connections),  # type: ignore[arg-type]
                ws_max_size=MAX_MESSAGE_BYTES,
                # Compressing for every page on its own costs more than it saves on a local network.
                ws_per_message_deflate=False,
                # Whoever is on this machine could give any host as its own.
                proxy_headers=False,
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                backlog=ACCEPTED_AT_ONCE,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[self._socket]))
        watching = asyncio.create_task(connections.watch())
        closed = asyncio.create_task(self._notifier.wait_closed())
        started.set()
        # A task that ends by itself has failed: its error is raised below.
        await asyncio.wait([serving, watching, closed], return_when=asyncio.FIRST_COMPLETED)
        await _stop(server, serving)
        if watching.done():
            watching.result()


async def _stop(server: "Server", serving: "asyncio.Task[None]") -> None:
    """Stop the server: streams end by themselves; connections to stuck viewers are aborted."""
    server.should_exit = True
    await asyncio.wait([serving], timeout=STOP_S)
    for connection in list(server.server_state.connections):
        connection.transport.abort()
    await serving


def _listen(bind: str, ports: Sequence[int]) -> socket.socket:
    """Return a socket that listens on the first of `ports` that is free."""
    for port in ports:
        try:
            listener = _listen_on(bind, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port != ports[-1]:
                continue
            where = endpoint(bind, ports[0])
            raise DeviceError(f"cannot open the preview on {where}: {_explain(error)}") from None
        # Connections inherit the size.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        return listener
    raise AssertionError("there is at least one port")


def _listen_on(bind: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, address = found[0]
    return socket.create_server((str(address[0]), int(address[1])), family=family)


def _explain(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "no such address; set one with --web-bind, such as 127.0.0.1"
    if error.errno == errno.EADDRINUSE:
        return "the port is in use; choose another with --preview-port, or 0 for a free one"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; set another with --web-bind"
    if error.errno == errno.EACCES:
        return "not permitted; choose a port from 1024 on with --preview-port"
    return os.strerror(error.errno) if error.errno else str(error)
