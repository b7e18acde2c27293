"""OSC server on a free port, and a client with a real socket, for the OSC tests."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

from streamcam.control.messages import Argument, Message
from streamcam.control.osc.packets import read_packet
from streamcam.control.osc.server import OscServer
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.stats import Status

STATUS = Status(
    state="running",
    source="live",
    fps_in=30.0,
    fps_model=24.5,
    fps_out=30.0,
    latency_p50=0.125,
    latency_p95=0.25,
    dropped=3,
    skipped=4,
    restarts=0,
    uptime=10.0,
    model="tiny",
    vram=2e9,
    power=75.0,
)


def message(address: str, *arguments: Any, types: str = "") -> bytes:
    """Return the packet that python-osc makes, with `types` or those that it guesses."""
    builder = OscMessageBuilder(address)
    for place, argument in enumerate(arguments):
        builder.add_arg(argument, types[place] if types else None)
    return bytes(builder.build().dgram)


def bundle(*packets: bytes, when: float = IMMEDIATELY) -> bytes:
    """Return `packets` as a bundle stamped with `when`, in seconds since 1970."""
    header = OscBundleBuilder(when).build().dgram
    return bytes(header) + b"".join(len(p).to_bytes(4, "big") + p for p in packets)


class Client:
    """UDP client of one server."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.port = self.socket.getsockname()[1]
        self.server = ("127.0.0.1", port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, address: str, *arguments: Any, types: str = "") -> None:
        self.raw(message(address, *arguments, types=types))

    def raw(self, packet: bytes) -> None:
        self.socket.sendto(packet, self.server)

    def receive(self, seconds: float) -> Iterator[Message]:
        """Yield the messages that arrive within so many seconds."""
        end = time.monotonic() + seconds
        while (remaining := end - time.monotonic()) > 0:
            self.socket.settimeout(remaining)
            try:
                yield from read_packet(self.socket.recv(65536))
            except TimeoutError:
                return

    def wait_for(self, address: str, seconds: float = 5.0) -> tuple[Argument, ...]:
        """Return the arguments of the next message to `address`."""
        for received in self.receive(seconds):
            if received.address == address:
                return received.arguments
        raise AssertionError(f"nothing came to {address}")

    def settle(self) -> list[Message]:
        """Return the messages before the answer to a ping, once all sent before it is handled."""
        self.send("/streamcam/ping")
        received: list[Message] = []
        for answer in self.receive(5.0):
            if answer.address == "/streamcam/pong":
                return received
            received.append(answer)
        raise AssertionError("no pong")


class RunningServer:
    """A server, the parameters that it changes, and a client."""

    def __init__(
        self, server: OscServer, control: Control, client: Client, reports: list[str]
    ) -> None:
        self.server, self.control, self.client, self.reports = server, control, client, reports

    def after(self, address: str, *arguments: Any, types: str = "") -> Parameters:
        """Send one message and return the resulting target."""
        self.client.send(address, *arguments, types=types)
        self.client.settle()
        return self.control.target

    def after_raw(self, *packets: bytes) -> Parameters:
        for packet in packets:
            self.client.raw(packet)
        self.client.settle()
        return self.control.target


@contextmanager
def running_server(
    status: Callable[[], Status] = lambda: STATUS, **settings: Any
) -> Iterator[RunningServer]:
    """Run a server on a free port, with a client."""
    config = build_config([{"osc_port": 0, **settings}])
    control = Control(config)
    reports: list[str] = []
    with (
        OscServer(
            ControlSurface(control, config, reports.append), status, reports.append
        ) as server,
        Client(server.port) as client,
    ):
        yield RunningServer(server, control, client, reports)
