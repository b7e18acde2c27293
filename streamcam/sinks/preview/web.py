"""The preview's site: its routes, and who may ask."""

import socket
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
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

from streamcam.sinks.preview.mjpeg import BOUNDARY, FrameNotifier, LatestJpeg, parts
from streamcam.types import BroadcastView

MAX_STREAMS = 16
MULTIPART = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
PAGES = {"/": "page.html", "/obs": "obs.html"}
FRESH = {
    "Cache-Control": "no-store",
    # Other sites may neither show the camera nor frame the page.
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; connect-src 'self';"
    " style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'",
}


def application(
    pictures: Mapping[str, LatestJpeg],
    ticker: FrameNotifier,
    view: BroadcastView,
    listener: socket.socket,
    bind: str,
) -> ASGIApp:
    """Return the site of a preview that listens on `listener`, which was opened as `bind`."""
    site = PreviewSite(pictures, ticker, view)
    routes = [Route(path, partial(_page, name=name)) for path, name in PAGES.items()]
    routes += [
        Route("/stats", site.stats),
        Route("/{which}.mjpg", site.stream),
        Route("/{which}.jpg", site.still),
    ]
    guard = Middleware(HostCheck, hosts=AllowedHosts(listener.getsockname()[0], bind))
    return Starlette(routes=routes, middleware=[guard])


async def _page(request: Request, name: str) -> Response:  # noqa: ARG001
    page = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return HTMLResponse(page, headers=FRESH)


class PreviewSite:
    """What there is to ask for beside the pages."""

    def __init__(
        self, pictures: Mapping[str, LatestJpeg], ticker: FrameNotifier, view: BroadcastView
    ) -> None:
        self._pictures = pictures
        self._ticker = ticker
        self._view = view

    async def stats(self, request: Request) -> Response:  # noqa: ARG002
        return JSONResponse(asdict(self._view.status()), headers=FRESH)

    async def still(self, request: Request) -> Response:
        jpeg = await self._asked(request).jpeg()
        if jpeg is None:
            return PlainTextResponse("no picture yet", 503, headers=FRESH | {"Retry-After": "1"})
        return Response(jpeg, media_type="image/jpeg", headers=FRESH)

    async def stream(self, request: Request) -> Response:
        picture = self._asked(request)
        if request.method == "HEAD":
            return Response(media_type=MULTIPART, headers=FRESH)
        if self._ticker.watched >= MAX_STREAMS:
            return PlainTextResponse(
                f"{MAX_STREAMS} streams are being watched already; close one", 503, headers=FRESH
            )
        return MjpegResponse(picture, self._ticker)

    def _asked(self, request: Request) -> LatestJpeg:
        which = request.path_params["which"]
        if which not in self._pictures:
            raise HTTPException(404)
        return self._pictures[which]


class MjpegResponse(StreamingResponse):
    """A stream, counted as long as it runs."""

    def __init__(self, picture: LatestJpeg, ticker: FrameNotifier) -> None:
        super().__init__(parts(picture, ticker), media_type=MULTIPART, headers=FRESH)
        self._ticker = ticker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._ticker.watching():
            await super().__call__(scope, receive, send)


class AllowedHosts:
    """The names under which this machine may be asked.

    A page elsewhere can have its own name point here and so read what is served; the name it
    asks for gives it away. Where the preview was opened to the network on purpose, addresses
    are fine too, since they are no names.
    """

    def __init__(self, address: str, bind: str) -> None:
        self._names = {"localhost", "127.0.0.1", "::1", bind.lower(), address}
        self._opened = not ip_address(address).is_loopback
        if self._opened:
            own = socket.gethostname().lower()
            self._names |= {own, f"{own.partition('.')[0]}.local"}

    def __contains__(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._names or (self._opened and bool(ip_address(name)))
        except ValueError:
            return False


class HostCheck:
    """Refuses those who ask under another name, and pages that are not ours."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if host not in self._hosts:
            refusal = "the preview does not answer to that host name"
        elif origin is not None and origin.lower() != f"http://{host}".lower():
            refusal = "the preview does not answer to other sites"
        else:
            await self._app(scope, receive, send)
            return
        await PlainTextResponse(refusal, 403, headers=FRESH)(scope, receive, send)
