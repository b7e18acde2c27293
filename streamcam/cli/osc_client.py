"""Client of a running broadcast, over OSC, for the commands that change or show its values."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import click

from streamcam.control.messages import Argument, Message
from streamcam.control.osc.feedback import feedback_rows
from streamcam.control.osc.packets import MAX_PACKET, PacketError, read_packet, write_packet
from streamcam.errors import DeviceError, ParameterError, printable
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.system.network import endpoint

ANSWER_TIMEOUT = 2.0
"""Seconds to wait for the answer of a broadcast."""
PORT = BroadcastSettings().osc_port
PREFIX = BroadcastSettings().osc_prefix


def client_options(command: click.decorators.FC) -> click.decorators.FC:
    """Give a command ``--host``, ``--port`` and ``--prefix``."""
    for option in (
        click.option(
            "--prefix",
            default=PREFIX,
            show_default=True,
            help="Beginning of its OSC addresses, as in its setting osc_prefix.",
        ),
        click.option(
            "--port",
            metavar="NUMBER",
            default=PORT,
            show_default=True,
            type=click.IntRange(1, 65535),
            help="OSC port of the broadcast.",
        ),
        click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="Machine of the broadcast; by default this one.",
        ),
    ):
        command = option(command)
    return command


class Client:
    """UDP client of one broadcast."""

    def __init__(self, host: str, port: int, prefix: str) -> None:
        self._server = endpoint(host, port)
        self.prefix = prefix
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM
            )[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.connect(address)
        except (OSError, UnicodeError) as error:
            raise DeviceError(f"cannot reach {self._server}: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def ask(self, *messages: Message, strict: bool = True) -> list[Message]:
        """Send `messages` and a ping; return the messages that arrive before its answer.

        Warnings go to stderr.

        Raises:
            ParameterError: one of them is refused, unless not `strict`.
            DeviceError: no answer arrives.
        """
        answers: list[Message] = []
        asked = [*messages, Message(f"{self.prefix}/ping")]
        pings = sum(message.address == f"{self.prefix}/ping" for message in asked)
        try:
            for message in asked:
                self._socket.send(write_packet(message))
            for answer in self._until(time.monotonic() + ANSWER_TIMEOUT):
                name = answer.address.removeprefix(f"{self.prefix}/")
                text = " ".join(map(str, answer.arguments))
                pings -= name == "pong"
                if not pings:
                    return answers
                if name == "warning":
                    click.echo(f"streamcam: {printable(text)}", err=True)
                elif name != "error":
                    answers.append(answer)
                elif strict:
                    raise ParameterError(text)
        except ConnectionRefusedError:
            raise DeviceError(
                f"no broadcast listens to OSC at {self._server}; start one with"
                ' "streamcam run", or name its --host and --port'
            ) from None
        except PacketError as error:
            raise ParameterError(f"that cannot be sent: {error}") from None
        raise DeviceError(
            f"no answer from {self._server}: it may have another --prefix, or its osc_allow does"
            " not let this machine in"
        )

    def all_values(self) -> list[Message]:
        """Return every value that can be set; raise as `ask` does."""
        sync = Message(f"{self.prefix}/sync")
        values = dict(self.ask(sync))
        if f"{self.prefix}/preset/names" not in values:
            # From another machine: a subscriber can show that it is there, and then gets the rest.
            with self.subscribed():
                self.ask()
                values |= self.ask(sync)
        figures = {row.address for row in feedback_rows(self.prefix)}
        return [Message(*value) for value in values.items() if value[0] not in figures]

    @contextmanager
    def subscribed(self) -> Iterator[None]:
        """Subscribe this client to changes."""
        self._send("subscribe")
        try:
            yield
        finally:
            self._send("unsubscribe")

    def changes(self) -> Iterator[Message]:
        """Yield each message that differs from the last one of its address, without end.

        Raises:
            DeviceError: the broadcast has ended.
        """
        latest: dict[str, tuple[Argument, ...]] = {}
        silences = 0
        try:
            while silences < 3:
                silences += 1
                for message in self._until(time.monotonic() + ANSWER_TIMEOUT):
                    silences = 0
                    if latest.get(message.address) != message.arguments:
                        latest[message.address] = message.arguments
                        yield message
                if silences:
                    # The subscription has expired, or another broadcast has taken the port.
                    self._send("subscribe")
        except ConnectionRefusedError:
            silences += 1
        raise DeviceError(f"the broadcast at {self._server} has ended")

    def _send(self, name: str) -> None:
        with suppress(ConnectionRefusedError):
            self._socket.send(write_packet(Message(f"{self.prefix}/{name}")))

    def _until(self, end: float) -> Iterator[Message]:
        """Yield the messages that arrive before `end`."""
        while (remaining := end - time.monotonic()) > 0:
            self._socket.settimeout(remaining)
            try:
                messages = read_packet(self._socket.recv(MAX_PACKET))
            except TimeoutError:
                return
            for message in messages:
                if message.address == f"{self.prefix}/confirm":
                    self._socket.send(write_packet(message))
                else:
                    yield message
