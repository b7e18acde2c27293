"""``streamcam osc``: list the addresses, send messages, watch feedback."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import click

from streamcam.cli.options import configured
from streamcam.control.osc.addresses import Addresses
from streamcam.control.osc.feedback import feedback_rows
from streamcam.control.osc.packets import (
    MAX_PACKET,
    Argument,
    Message,
    PacketError,
    read_packet,
    write_packet,
)
from streamcam.control.osc.queries import QUERIES, query_rows
from streamcam.errors import DeviceError, ParameterError, printable
from streamcam.settings.base import as_utf8
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.system.network import endpoint

ANSWER_TIMEOUT = 2.0
"""Seconds to wait for the answer of a broadcast."""
PORT = BroadcastSettings().osc_port
PREFIX = BroadcastSettings().osc_prefix


@click.group()
def osc() -> None:
    """List the OSC addresses, send a message, watch the values change."""


@osc.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--config", "presets", multiple=True, metavar="NAME|FILE.toml", help="Preset.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting.")
def list_(as_json: bool, presets: tuple[str, ...], assignments: tuple[str, ...]) -> None:
    """Show every address with its types, its range and a description."""
    settings = configured(presets, assignments, {}).broadcast
    addresses = Addresses(settings.osc_prefix, settings.osc_alias)
    prefix = addresses.prefix
    listed = [*addresses.rows(), *query_rows(prefix), *feedback_rows(prefix)]
    if as_json:
        aliases = dict(sorted(addresses.aliases.items()))
        table = {"addresses": [row._asdict() for row in listed], "aliases": aliases}
        click.echo(json.dumps(table, ensure_ascii=False))
        return
    without_norm = [row for row in listed if not row.address.endswith("/norm")]
    widths = [max(len(row[column]) for row in without_norm) for column in range(4)]
    for row in without_norm:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        click.echo("  ".join([*cells, row.description]))
    click.echo("Every number also has an address with /norm, where 0 to 1 spans its range.")
    click.echo(f"These also work without the prefix: {' '.join(sorted(addresses.aliases))}")


def _client_options(command: click.decorators.FC) -> click.decorators.FC:
    for option in (
        click.option("--prefix", default=PREFIX, show_default=True, help="As osc_prefix."),
        click.option("--port", default=PORT, show_default=True, type=click.IntRange(1, 65535)),
        click.option("--host", default="127.0.0.1", show_default=True),
    ):
        command = option(command)
    return command


@osc.command(context_settings={"ignore_unknown_options": True})
@click.argument("address")
@click.argument("arguments", nargs=-1, metavar="[ARGS]...", type=click.UNPROCESSED)
@_client_options
def send(address: str, arguments: tuple[str, ...], host: str, port: int, prefix: str) -> None:
    """Send a message to a broadcast, and show the new value or the answer.

    ADDRESS may leave out the prefix: "prompt" is /streamcam/prompt. An argument that looks like a
    number is sent as one; an empty text ("") clears a prompt.
    """
    full = address if address.startswith("/") else f"{prefix}/{address}"
    sent = Message(full, tuple(map(parse_argument, arguments)))
    with Client(host, port, prefix) as client:
        answers = client.ask(sent)
        if full.removeprefix(f"{prefix}/") not in QUERIES:
            answers = client.ask(Message(f"{prefix}/get", (full,)), strict=False)
        for answer in answers:
            click.echo(as_line(answer))


@osc.command()
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@_client_options
def get(addresses: tuple[str, ...], host: str, port: int, prefix: str) -> None:
    """Show the values at addresses of a broadcast; without any, all that can be set."""
    with Client(host, port, prefix) as client:
        if addresses:
            answers = [
                a for name in addresses for a in client.ask(Message(f"{prefix}/get", (name,)))
            ]
        else:
            answers = [a for a in client.all_values() if not a.address.endswith("/norm")]
        for answer in answers:
            click.echo(as_line(answer))


@osc.command()
@_client_options
def monitor(host: str, port: int, prefix: str) -> None:
    """Show the values of a broadcast as they change, until Ctrl-C."""
    with Client(host, port, prefix) as client, suppress(KeyboardInterrupt):
        client.ask()
        with client.subscribed():
            for message in client.changes():
                click.echo(as_line(message))


def parse_argument(text: str) -> Argument:
    """Return `text` as a number if it looks like one, else as UTF-8, whatever the locale is."""
    if re.fullmatch(r"[+-]?\d{1,19}", text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    is_number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.I)
    return float(text) if is_number else as_utf8(text)


def as_line(message: Message) -> str:
    """Return `message` as one line, with floats as short as they were meant."""
    parts = (f"{a:.6g}" if isinstance(a, float) else json.dumps(a, ensure_ascii=False)
             for a in message.arguments)  # fmt: skip
    # Whatever sends to this port must not move the cursor of the terminal.
    return printable(" ".join([message.address, *parts]))


class Client:
    """UDP client of one broadcast."""

    def __init__(self, host: str, port: int, prefix: str) -> None:
        self._server = endpoint(host, port)
        self._prefix = prefix
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
        asked = [*messages, Message(f"{self._prefix}/ping")]
        pings = sum(message.address == f"{self._prefix}/ping" for message in asked)
        try:
            for message in asked:
                self._socket.send(write_packet(message))
            for answer in self._until(time.monotonic() + ANSWER_TIMEOUT):
                name = answer.address.removeprefix(f"{self._prefix}/")
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
            raise DeviceError(f"nobody listens to OSC at {self._server}") from None
        except PacketError as error:
            raise ParameterError(f"that cannot be sent: {error}") from None
        raise DeviceError(
            f"no answer from {self._server}: it may have another --prefix, or its osc_allow does"
            " not let this machine in"
        )

    def all_values(self) -> list[Message]:
        """Return every value that can be set; raise as `ask` does."""
        sync = Message(f"{self._prefix}/sync")
        values = dict(self.ask(sync))
        if f"{self._prefix}/preset/names" not in values:
            # From another machine: a subscriber can show that it is there, and then gets the rest.
            with self.subscribed():
                self.ask()
                values |= self.ask(sync)
        figures = {row.address for row in feedback_rows(self._prefix)}
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
            self._socket.send(write_packet(Message(f"{self._prefix}/{name}")))

    def _until(self, end: float) -> Iterator[Message]:
        """Yield the messages that arrive before `end`."""
        while (remaining := end - time.monotonic()) > 0:
            self._socket.settimeout(remaining)
            try:
                messages = read_packet(self._socket.recv(MAX_PACKET))
            except TimeoutError:
                return
            for message in messages:
                if message.address == f"{self._prefix}/confirm":
                    self._socket.send(write_packet(message))
                else:
                    yield message
