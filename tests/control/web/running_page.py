"""Server of the control page on a free port, and pages with a real WebSocket, for its tests."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect

from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.control.web.page_server import PageServer
from streamcam.settings.config_layers import build_config
from streamcam.sinks.preview import Preview
from streamcam.stats import LatencyHistory
from tests.support.scenes import FakeBroadcastView


class Page:
    """A page as a browser runs it: it reads when it is asked to, and sends."""

    def __init__(self, opened: ClientConnection) -> None:
        self.socket = opened
        self.hello: dict[str, Any] = self.next("hello")

    def next(self, kind: str) -> dict[str, Any]:
        """Return the next message of a type, leaving out others."""
        for _ in range(1000):
            message: dict[str, Any] = json.loads(self.socket.recv(timeout=5))
            if message["type"] == kind:
                return message
        raise AssertionError(f"no {kind} came")

    def next_value(self, name: str) -> list[Any]:
        """Return the next value that comes for an address."""
        address = f"{self.hello['prefix']}/{name}"
        for _ in range(1000):
            values: dict[str, list[Any]] = self.next("values")["values"]
            if address in values:
                return values[address]
        raise AssertionError(f"no value of {name} came")

    def send(self, *messages: list[Any], id_: object = 1) -> dict[str, Any]:
        """Send messages as one packet, and return the reply."""
        packet = {"type": "send", "id": id_, "messages": list(messages)}
        return self.send_text(json.dumps(packet))

    def send_text(self, text: str | bytes) -> dict[str, Any]:
        self.socket.send(text)
        return self.next("reply")


class RunningPage:
    """The server, and what its pages change."""

    def __init__(self, surface: ControlSurface, view: FakeBroadcastView, preview: Preview) -> None:
        self.surface, self.view, self.preview = surface, view, preview

    @property
    def control(self) -> Control:
        return self.surface.control

    @contextmanager
    def page(self, **options: Any) -> Iterator[Page]:
        """Open a page and read what it is greeted with."""
        url = f"{self.preview.url.replace('http', 'ws')}control"
        with connect(url, **options) as opened:
            yield Page(opened)

    @contextmanager
    def stuck_page(self) -> Iterator[Page]:
        """Open a page that reads hardly anything before it is asked to."""
        address = urlsplit(self.preview.url)
        with socket.socket() as small:
            small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            small.connect((str(address.hostname), int(address.port or 0)))
            with self.page(sock=small, max_queue=1, close_timeout=0.1) as page:
                yield page


@contextmanager
def running_page(**settings: Any) -> Iterator[RunningPage]:
    """Run a server on a free port, over a surface that no broadcast uses."""
    config = build_config([settings])
    surface = ControlSurface(Control(config), config, lambda _line: None)
    view = FakeBroadcastView()
    with PageServer(surface, view.status, LatencyHistory()) as server:
        view.make_routes = server.routes
        with Preview("127.0.0.1", 0, view) as preview:
            yield RunningPage(surface, view, preview)
