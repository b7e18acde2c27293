"""Web application of the preview: its routes, and the check of Host and Origin."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import asdict
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from streamcam.limits import RateLimiter
from streamcam.sinks.preview.connections import MAX_STREAMS, Connections
from streamcam.sinks.preview.mjpeg import BOUNDARY, FrameNotifier, LatestJpeg, parts
from streamcam.sinks.preview.token_check import TokenCheck
from streamcam.system.network import is_loopback
from streamcam.system.web_tokens import WebTokens
from streamcam.types import BroadcastView

REQUESTS_PER_SECOND = 100
REQUESTS_AT_ONCE = 300
BUSY_PAUSE_S = 0.25
"""Wait before each answer to a host that asks more often."""
MULTIPART = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
OBS_PAGE = Path(__file__).with_name("obs.html")
FRESH = {
    "Cache-Control": "no-store",
    # Other sites may neither show the camera nor frame the page.
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; connect-src 'self';"
    " style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'",
}


def application(
    images: Mapping[str, LatestJpeg],
    notifier: FrameNotifier,
    view: BroadcastView,
    listener: socket.socket,
    bind: str,
    connections: Connections,
    tokens: WebTokens,
) -> ASGIApp:
    """Return the application of a preview that listens on `listener`, opened as `bind`."""
    site = PreviewSite(images, notifier, view, connections)
    routes = list(view.web_routes())
    routes += [
        Route("/obs", _obs_page),
        Route("/stats", site.stats),
        Route("/{which}.mjpg", site.stream),
        Route("/{which}.jpg", site.jpeg),
    ]
    address, port = listener.getsockname()[:2]
    host_check = Middleware(HostCheck, hosts=AllowedHosts(address, bind))
    required = tokens.is_fixed or not is_loopback(address)
    token_check = Middleware(TokenCheck, tokens=tokens, required=required, port=port)
    return Starlette(routes=routes, middleware=[host_check, token_check])


async def _obs_page(request: Request) -> Response:  # noqa: ARG001
    return HTMLResponse(OBS_PAGE.read_text(encoding="utf-8"), headers=FRESH)


class PreviewSite:
    """Routes for the status, the images and the streams."""

    def __init__(
        self,
        images: Mapping[str, LatestJpeg],
        notifier: FrameNotifier,
        view: BroadcastView,
        connections: Connections,
    ) -> None:
        self._connections = connections
        self._images = images
        self._notifier = notifier
        self._view = view

    async def stats(self, request: Request) -> Response:  # noqa: ARG002
        return JSONResponse(asdict(self._view.status()), headers=FRESH)

    async def jpeg(self, request: Request) -> Response:
        jpeg = await self._requested(request).get()
        if jpeg is None:
            return PlainTextResponse("no frame yet", 503, headers=FRESH | {"Retry-After": "1"})
        return Response(jpeg, media_type="image/jpeg", headers=FRESH)

    async def stream(self, request: Request) -> Response:
        latest = self._requested(request)
        if request.method == "HEAD":
            return Response(media_type=MULTIPART, headers=FRESH)
        if not self._connections.admit_stream(request.client):
            return PlainTextResponse(
                f"{MAX_STREAMS} streams are being watched already; close one", 503, headers=FRESH
            )
        return MjpegResponse(latest, self._notifier)

    def _requested(self, request: Request) -> LatestJpeg:
        which = request.path_params["which"]
        if which not in self._images:
            raise HTTPException(404)
        return self._images[which]


class MjpegResponse(StreamingResponse):
    """An MJPEG stream, counted as a viewer while it runs."""

    def __init__(self, latest: LatestJpeg, notifier: FrameNotifier) -> None:
        super().__init__(parts(latest, notifier), media_type=MULTIPART, headers=FRESH)
        self._notifier = notifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._notifier.viewer():
            await super().__call__(scope, receive, send)


class AllowedHosts:
    """Host names that requests may use.

    A foreign page can let its own host name resolve to this machine and so read the responses
    (DNS rebinding); the Host header reveals it. Where the preview was opened to the network on
    purpose, IP addresses are allowed too, since they cannot be rebound.
    """

    def __init__(self, address: str, bind: str) -> None:
        self._names = {"localhost", "127.0.0.1", "::1", bind.lower(), address}
        self._open_to_network = not is_loopback(address)
        if self._open_to_network:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own.partition('.')[0]}.local"}

    def __contains__(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._names or (self._open_to_network and bool(ip_address(name)))
        except ValueError:
            return False


class HostCheck:
    """Refuses requests for another host name or origin; delays those that are too many."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self._app = app
        self._hosts = hosts
        self._requests = RateLimiter(REQUESTS_PER_SECOND, REQUESTS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._requests.take((scope["client"] or ("",))[0]):
            # Each connection is answered one request at a time, so this is a limit for all.
            await asyncio.sleep(BUSY_PAUSE_S)
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._hosts:
            refusal = "the preview does not answer requests for that host name"
        elif origin is not None and origin.lower() != f"http://{host}".lower():
            refusal = "the preview does not answer requests of other sites"
        else:
            await self._app(scope, receive, send)
            return
        await PlainTextResponse(refusal, 403, headers=FRESH)(scope, receive, send)
