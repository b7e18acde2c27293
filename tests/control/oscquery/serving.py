"""OSCQuery on a real web server, for its tests."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from websockets.sync.client import ClientConnection, connect

from streamcam.control.messages import Message
from streamcam.control.osc.packets import read_packet
from streamcam.control.oscquery.routes import oscquery_routes
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.control.web.page_server import PageServer
from streamcam.settings.config_layers import build_config
from streamcam.sinks.preview import Preview
from streamcam.stats import LatencyHistory
from streamcam.system.web_tokens import WebTokens
from tests.control.osc.running_server import STATUS
from tests.support.scenes import FakeBroadcastView

OSC_PORT = 9123


class Served:
    """A web server with OSCQuery, and what its clients change."""

    def __init__(self, url: str, surface: ControlSurface, reports: list[str]) -> None:
        self.url, self.surface, self.reports = url, surface, reports

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url.rstrip("/") + path, headers=headers)

    def json(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def change(self, address: str, *arguments: Any) -> None:
        """Change a value, as another protocol does."""
        outcome = self.surface.apply([Message(address, arguments)], "test")
        assert not outcome.refused
        assert not outcome.unknown

    def connect(self, token: str = "") -> ClientConnection:
        query = f"?token={token}" if token else ""
        return connect(f"ws://127.0.0.1:{urlsplit(self.url).port}/{query}", compression=None)


async def page(_request: Request) -> Response:
    """Be the page that a browser gets."""
    return HTMLResponse("<html>the page</html>")


@contextmanager
def served(tokens: WebTokens | None = None, **settings: Any) -> Iterator[Served]:
    """Serve OSCQuery on a free port, to whoever has one of `tokens` if there are any."""
    config = build_config([settings])
    reports: list[str] = []
    surface = ControlSurface(Control(config), config, reports.append)
    view = FakeBroadcastView()
    view.tokens = tokens or WebTokens()
    page = PageServer(surface, lambda: STATUS, LatencyHistory())
    view.make_routes = lambda: [
        *oscquery_routes(surface, OSC_PORT, lambda: STATUS, reports.append),
        *page.routes(),
    ]
    with Preview("127.0.0.1", 0, view) as preview:
        yield Served(preview.url, surface, reports)


def command(socket: ClientConnection, name: str, path: str) -> None:
    socket.send(json.dumps({"COMMAND": name, "DATA": path}))


def received(socket: ClientConnection) -> Message | dict[str, Any]:
    """Return the next message of the server: OSC, or a command."""
    got = socket.recv(timeout=5)
    if isinstance(got, str):
        read: dict[str, Any] = json.loads(got)
        return read
    [message] = read_packet(got)
    return message


def listening(socket: ClientConnection, path: str) -> Sequence[Any]:
    """Listen to `path`, and return its present value."""
    command(socket, "LISTEN", path)
    message = received(socket)
    assert isinstance(message, Message)
    assert message.address == path
    return message.arguments
