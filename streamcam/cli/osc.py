"""``streamcam osc``: the addresses, and a client to try them with."""

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
from streamcam.control.osc.queries import query_rows
from streamcam.errors import DeviceError, ParameterError
from streamcam.settings.broadcast_settings import BroadcastSettings

ANSWER_WITHIN = 2.0
"""Seconds that a broadcast has for its answer."""
PORT = BroadcastSettings().osc_port
PREFIX = BroadcastSettings().osc_prefix


@click.group()
def osc() -> None:
    """List the OSC addresses, send a message, watch what changes."""


@osc.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--config", "presets", multiple=True, metavar="NAME|FILE.toml", help="Preset.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting.")
def list_(as_json: bool, presets: tuple[str, ...], assignments: tuple[str, ...]) -> None:
    """Show every address, what it takes and what it does."""
    settings = configured(presets, assignments, {}).broadcast
    addresses = Addresses(settings.osc_prefix, settings.osc_alias)
    prefix = addresses.prefix
    listed = [*addresses.rows(), *query_rows(prefix), *feedback_rows(prefix)]
    if as_json:
        aliases = dict(sorted(addresses.aliases.items()))
        shown = {"addresses": [row._asdict() for row in listed], "aliases": aliases}
        click.echo(json.dumps(shown, ensure_ascii=False))
        return
    plain = [row for row in listed if not row.address.endswith("/norm")]
    widths = [max(len(row[column]) for row in plain) for column in range(4)]
    for row in plain:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        click.echo("  ".join([*cells, row.description]))
    click.echo("Every number also takes 0 to 1, at its address with /norm.")
    click.echo(f"Without the prefix too: {' '.join(sorted(addresses.aliases))}")


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
    """Send a message to a broadcast, and show what it then holds.

    ADDRESS may leave out the prefix: "prompt" is /streamcam/prompt. What looks like a number is
    sent as one.
    """
    full = address if address.startswith("/") else f"{prefix}/{address}"
    with Client(host, port, prefix) as client:
        client.ask(Message(full, tuple(map(typed, arguments))))
        for came in client.ask(Message(f"{prefix}/get", (full,)), strict=False):
            click.echo(shown(came))


@osc.command()
@_client_options
def monitor(host: str, port: int, prefix: str) -> None:
    """Show what a broadcast tells, as it changes, until Ctrl-C."""
    with Client(host, port, prefix) as client, suppress(KeyboardInterrupt):
        client.ask()
        with client.subscribed():
            for came in client.heard():
                click.echo(shown(came))


def typed(text: str) -> Argument:
    """Return `text` as the number that it looks like, else as it is."""
    if re.fullmatch(r"[+-]?\d{1,19}", text) and -(2**63) <= int(text) < 2**63:
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.I) else text


def shown(message: Message) -> str:
    """Return `message` as a line, floats as short as they were meant."""
    parts = (f"{a:.6g}" if isinstance(a, float) else json.dumps(a, ensure_ascii=False)
             for a in message.arguments)  # fmt: skip
    return " ".join([message.address, *parts])


class Client:
    """Talks to one broadcast."""

    def __init__(self, host: str, port: int, prefix: str) -> None:
        self._where = f"{host}:{port}"
        self._prefix = prefix
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_DGRAM
            )[0]
            self._socket = socket.socket(family, kind, protocol)
            self._socket.connect(address)
        except (OSError, UnicodeError) as error:
            raise DeviceError(f"cannot reach {self._where}: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def ask(self, *messages: Message, strict: bool = True) -> list[Message]:
        """Send `messages` and return what comes back before the answer to a ping.

        Raises:
            ParameterError: one of them is refused, unless not `strict`.
            DeviceError: nobody answers.
        """
        came: list[Message] = []
        try:
            for message in (*messages, Message(f"{self._prefix}/ping")):
                self._socket.send(write_packet(message))
            for answer in self._until(time.monotonic() + ANSWER_WITHIN):
                if answer.address == f"{self._prefix}/pong":
                    return came
                if answer.address != f"{self._prefix}/error":
                    came.append(answer)
                elif strict:
                    raise ParameterError(" ".join(map(str, answer.arguments)))
        except ConnectionRefusedError:
            raise DeviceError(f"nobody listens to OSC at {self._where}") from None
        except PacketError as error:
            raise ParameterError(f"that cannot be sent: {error}") from None
        raise DeviceError(
            f"no answer from {self._where}: it may have another --prefix, or its osc_allow does"
            " not let this machine in"
        )

    @contextmanager
    def subscribed(self) -> Iterator[None]:
        """Be told what changes, at the port of this client."""
        self._tell("subscribe")
        try:
            yield
        finally:
            self._tell("unsubscribe")

    def heard(self) -> Iterator[Message]:
        """Yield what comes in, for good.

        Raises:
            DeviceError: the broadcast has ended.
        """
        told: dict[str, tuple[Argument, ...]] = {}
        silences = 0
        try:
            while silences < 3:
                silences += 1
                for message in self._until(time.monotonic() + ANSWER_WITHIN):
                    silences = 0
                    if told.get(message.address) != message.arguments:
                        told[message.address] = message.arguments
                        yield message
                if silences:
                    # The subscription is over, or another broadcast has taken the place.
                    self._tell("subscribe")
        except ConnectionRefusedError:
            silences += 1
        raise DeviceError(f"the broadcast at {self._where} has ended")

    def _tell(self, name: str) -> None:
        with suppress(ConnectionRefusedError):
            self._socket.send(write_packet(Message(f"{self._prefix}/{name}")))

    def _until(self, end: float) -> Iterator[Message]:
        """Yield the messages that come in before `end`."""
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                yield from read_packet(self._socket.recv(MAX_PACKET))
            except TimeoutError:
                return
