"""Routes of the control page: its assets, and the WebSocket that carries everything else."""

from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from streamcam.control.preset_thumbnails import preset_thumbnail_route
from streamcam.control.surface import ControlSurface
from streamcam.control.web.page_client import PageClient, PageLimits
from streamcam.control.web.updates import Updates

ASSETS = Path(__file__).with_name("assets")
INDEX = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    # Windows may hold it to be plain text, which no browser runs.
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}


class PageRoutes:
    """The routes, for one server.

    Args:
        surface: what the page shows and changes.
        updates: changes for the pages of this server.
    """

    def __init__(self, surface: ControlSurface, updates: Updates) -> None:
        self._surface = surface
        self._updates = updates
        self._limits = PageLimits(surface.config.broadcast.osc_rate)
        self._assets = {
            path.relative_to(ASSETS).as_posix(): path
            for path in ASSETS.rglob("*")
            if path.suffix in MEDIA_TYPES
        }

    def all(self) -> Sequence[BaseRoute]:
        """Return the routes, to be served ahead of any others."""
        return [
            Route("/", self._index),
            Route("/assets/{name:path}", self._asset),
            preset_thumbnail_route(),
            WebSocketRoute("/control", self._control),
        ]

    async def _index(self, request: Request) -> Response:  # noqa: ARG002
        return self._response(INDEX)

    async def _asset(self, request: Request) -> Response:
        return self._response(request.path_params["name"])

    async def _control(self, websocket: WebSocket) -> None:
        await websocket.accept()
        client = PageClient(websocket, self._surface, self._updates, self._limits)
        await client.run()

    def _response(self, name: str) -> Response:
        """Return an asset; only what lies in the folder has a name."""
        if name not in self._assets:
            return PlainTextResponse("there is no such page", 404, headers=HEADERS)
        path = self._assets[name]
        return Response(path.read_bytes(), media_type=MEDIA_TYPES[path.suffix], headers=HEADERS)
