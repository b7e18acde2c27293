"""Routes of OSCQuery on the web server: the namespace by GET, a WebSocket for its values."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route, WebSocketRoute
from starlette.types import Scope
from starlette.websockets import WebSocket

from streamcam.control.osc.access import AllowList
from streamcam.control.oscquery.listeners import Listeners
from streamcam.control.oscquery.method import READABLE
from streamcam.control.oscquery.namespace import Namespace
from streamcam.control.surface import ControlSurface
from streamcam.errors import printable
from streamcam.stats import Status

NAME = "streamcam"
ATTRIBUTES = (
    *("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "RANGE"),
    *("VALUE", "DESCRIPTION", "CLIPMODE", "UNIT"),
)
OF_METHODS = ("TYPE", "RANGE", "VALUE", "CLIPMODE", "UNIT")
"""Attributes that a container does not have."""
HOST_INFO = "HOST_INFO"
EXTENSIONS = ("ACCESS", "VALUE", "RANGE", "DESCRIPTION", "CLIPMODE", "UNIT", "LISTEN")
CHANGES = {"PATH_CHANGED": True, "PATH_ADDED": False, "PATH_REMOVED": False, "PATH_RENAMED": False}
"""Changes of the namespace that clients are sent."""
LOCAL_PARAMETERS = ("token",)
"""Parameters of a query that are the web server's own."""
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
UNKNOWN_HOST = "::"
MAX_REFUSED_HOSTS = 64
"""Hosts outside of the allowed networks that are logged, each once."""


def oscquery_routes(
    surface: ControlSurface,
    osc_port: int,
    status: Callable[[], Status],
    report: Callable[[str], None],
) -> Sequence[BaseRoute]:
    """Return the routes, to be served by one event loop.

    Args:
        surface: the addresses and what they change.
        osc_port: UDP port that OSC is received on.
        status: returns the state of the broadcast.
        report: takes a line for the log.
    """
    service = OscQueryService(surface, osc_port, status, report)
    return [NamespaceRoute(service), WebSocketRoute("/", service.listen)]


class OscQueryService:
    """Answers queries about the namespace, and lets clients listen to its values."""

    def __init__(
        self,
        surface: ControlSurface,
        osc_port: int,
        status: Callable[[], Status],
        report: Callable[[str], None],
    ) -> None:
        settings = surface.config.broadcast
        self.namespace = Namespace(surface, status)
        self._listeners = Listeners(surface, self.namespace, report)
        self._osc_port = osc_port
        self._allow_list = AllowList(settings.osc_allow)
        self._report = report
        self._refused: set[str] = set()

    async def get(self, request: Request) -> Response:
        """Answer a query about one path."""
        if not self._allows(request.client.host if request.client else UNKNOWN_HOST):
            return _refusal(403, "this host is in no network of osc_allow")
        attribute, problem = _attribute(request.scope)
        if problem:
            return _refusal(400, problem)
        if attribute == HOST_INFO:
            return JSONResponse(self._host_info(request.scope), headers=HEADERS)
        path = _path(request.scope)
        if path not in self.namespace:
            return _refusal(404, f"there is no {printable(path[:100])}")
        if not attribute:
            return JSONResponse(self.namespace.describe(path), headers=HEADERS)
        return self._one_attribute(path, attribute)

    async def listen(self, socket: WebSocket) -> None:
        """Serve one WebSocket client until it is gone."""
        host = socket.client.host if socket.client else UNKNOWN_HOST
        if self._allows(host):
            await self._listeners.serve(socket, host)
        else:
            await socket.close(1008, "this host is in no network of osc_allow")

    def is_asked(self, scope: Scope) -> bool:
        """Return whether a request is for OSCQuery, and not for a page of the same path.

        A browser names text/html among what it accepts, which no OSCQuery client does. A query
        of one attribute is for OSCQuery in any case, and so is every path below the prefix.
        """
        path = _path(scope)
        attribute, _ = _attribute(scope)
        if attribute == HOST_INFO or (attribute and path in self.namespace):
            return True
        prefix = self.namespace.prefix
        if prefix and (path == prefix or path.startswith(f"{prefix}/")):
            return True
        return path in self.namespace and not _accepts_html(scope)

    def _one_attribute(self, path: str, attribute: str) -> Response:
        method = self.namespace.method(path)
        if method and attribute in OF_METHODS:
            if attribute == "VALUE" and not method.access & READABLE:
                return Response(status_code=204, headers=HEADERS)
            found = self.namespace.describe_method(path)
        else:
            found = self.namespace.describe(path)
        if attribute not in found:
            return Response(status_code=204, headers=HEADERS)
        return JSONResponse({attribute: found[attribute]}, headers=HEADERS)

    def _host_info(self, scope: Scope) -> dict[str, Any]:
        # The address by which the client has reached this machine.
        address, port = (scope.get("server") or ("127.0.0.1", 0))[:2]
        return {
            "NAME": NAME,
            "EXTENSIONS": dict.fromkeys(EXTENSIONS, True) | CHANGES,
            "OSC_IP": address,
            "OSC_PORT": self._osc_port,
            "OSC_TRANSPORT": "UDP",
            "WS_IP": address,
            "WS_PORT": port,
        }

    def _allows(self, host: str) -> bool:
        if self._allow_list.allows(host):
            return True
        if host not in self._refused and len(self._refused) < MAX_REFUSED_HOSTS:
            self._refused.add(host)
            self._report(f"OSCQuery from {host} is refused, as it is in no network of osc_allow")
        return False


class NamespaceRoute(Route):
    """Takes the GETs that are for OSCQuery, and leaves the others to the pages."""

    def __init__(self, service: OscQueryService) -> None:
        super().__init__("/{path:path}", service.get)
        self._service = service

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and self._service.is_asked(scope):
            return super().matches(scope)
        return Match.NONE, {}


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.rstrip("/") or "/"


def _attribute(scope: Scope) -> tuple[str, str]:
    """Return the attribute that a query asks for, empty for all, and what is wrong with it."""
    query = scope.get("query_string", b"").decode("latin-1")
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=None)
    names = [name for name, _ in pairs if name not in LOCAL_PARAMETERS]
    if not names:
        return "", ""
    if len(names) == 1 and names[0] in (*ATTRIBUTES, HOST_INFO):
        return names[0], ""
    known = ", ".join([*ATTRIBUTES, HOST_INFO])
    return "", f"a query takes one of {known}"


def _accepts_html(scope: Scope) -> bool:
    accepted = [value for name, value in scope["headers"] if name == b"accept"]
    return any(b"text/html" in value.lower() for value in accepted)


def _refusal(status: int, reason: str) -> Response:
    return PlainTextResponse(reason, status, headers=HEADERS)
