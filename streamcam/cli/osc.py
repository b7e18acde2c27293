"""``streamcam osc``: list the addresses, send messages, watch feedback."""

import json
import re
from contextlib import suppress

import click

from streamcam.cli import value_completion
from streamcam.cli.options import configured
from streamcam.cli.osc_client import Client, client_options
from streamcam.control.addresses import Addresses
from streamcam.control.messages import Argument, Message
from streamcam.control.osc.feedback import feedback_rows
from streamcam.control.osc.queries import QUERIES, query_rows
from streamcam.errors import printable
from streamcam.settings.base import as_utf8


@click.group()
def osc() -> None:
    """List the OSC addresses, send messages, watch values."""


@osc.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option(
    "--config",
    "presets",
    multiple=True,
    metavar="NAME|FILE.toml",
    help="Preset, or a TOML file.",
    shell_complete=value_completion.preset_files,
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting by its name.",
    shell_complete=value_completion.assignments,
)
def list_(as_json: bool, presets: tuple[str, ...], assignments: tuple[str, ...]) -> None:
    """Show every address with its types, its range and a description."""
    addresses = Addresses.of(configured(presets, assignments, {}))
    prefix = addresses.prefix
    own = map(addresses.with_fader, addresses.rows())
    listed = [*own, *query_rows(prefix), *feedback_rows(prefix)]
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
    click.echo(
        "Every number also has an address with /norm, where 0 to 1 spans what a fader is for."
    )
    click.echo(f"These also work without the prefix: {' '.join(sorted(addresses.aliases))}")


@osc.command(context_settings={"ignore_unknown_options": True})
@click.argument("address", shell_complete=value_completion.addresses)
@click.argument("arguments", nargs=-1, metavar="[ARGS]...", type=click.UNPROCESSED)
@client_options
def send(address: str, arguments: tuple[str, ...], host: str, port: int, prefix: str) -> None:
    """Send a message to a broadcast. The new value or the answer is shown.

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
@click.argument(
    "addresses", nargs=-1, metavar="[ADDRESS]...", shell_complete=value_completion.addresses
)
@client_options
def get(addresses: tuple[str, ...], host: str, port: int, prefix: str) -> None:
    """Show the values at addresses of a broadcast. Without any, all that can be set."""
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
@client_options
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
