"""``streamcam cluster``: see which streams run where on a Ray cluster, and end them all."""

import json
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamcam.errors import EngineError, printable
from streamcam.runtime.cluster.pool_client import THIS_MACHINE, ask_pool, check_cluster
from streamcam.settings.broadcast_settings import BroadcastSettings

ADDRESS = click.option(
    "--address",
    default=THIS_MACHINE,
    show_default=True,
    metavar="ray://HOST:PORT",
    help="The cluster; ray://auto is the one that this machine belongs to.",
)
WIDTH = 200
NOBODY = "no engines: nobody has asked this cluster for one so far"


@click.group()
def cluster() -> None:
    """See the engines of a Ray cluster, and end them.

    "streamcam run --engine ray://HOST:PORT" starts them.
    """


@cluster.command()
@ADDRESS
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def status(address: str, *, as_json: bool) -> None:
    """Show which streams run where, the spares, and refusals."""
    answer = _ask(address, "status") or {"places": [], "silent_nodes": [], "refusals": []}
    if as_json:
        click.echo(json.dumps(answer, indent=1))
        return
    places = answer["places"]
    if places:
        # Lines are not broken for a narrow terminal: other programs read them too.
        Console(highlight=False, width=WIDTH).print(_table(places))
        click.echo(_summary(places))
    else:
        click.echo(NOBODY)
    for node in answer["silent_nodes"]:
        click.echo(f"silent: node {node[:8]}, which gets no streams for now")
    for refusal in answer["refusals"]:
        at = datetime.fromtimestamp(refusal["at"]).astimezone().strftime("%H:%M:%S")
        click.echo(printable(f"refused at {at}: {refusal['stream']}: {refusal['why']}"))


@cluster.command()
@ADDRESS
def stop(address: str) -> None:
    """End all engines of the cluster.

    What places them ends too; Ray itself goes on. Streams that still run get new ones.
    """
    ended = _ask(address, "stop")
    click.echo(NOBODY if ended is None else f"ended {ended} engines")


def _ask(address: str, call: str) -> Any:
    checked = BroadcastSettings.parse({"engine": address})
    if not checked.cluster:
        raise EngineError(f"{address:.100} is no address of a cluster: give ray://HOST:PORT")
    check_cluster(checked.cluster)
    return ask_pool(checked.cluster, call)


def _table(places: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="")
    for title in ("host", "node", "model", "takes", "state", "stream", "fps"):
        table.add_column(title, justify="right" if title == "fps" else "left")
    for place in places:
        takes = f"{place['gpus']:g} GPU, {place['cpus']:g} CPU"
        own = (place["host"] or "-", place["node"][:8] or "-")
        start = (*own, f"{place['model']} {place['size']}", takes, place["state"])
        rows = [(name, f"{fps:.1f}") for name, fps in place["streams"].items()]
        spare = place["room"] - len(rows)
        if spare > 0:
            rows.append((f"(room for {spare})" if place["room"] > 1 else "(spare)", ""))
        for row in rows:
            table.add_row(*(escape(printable(cell)) for cell in (*start, *row)))
            start = ("", "", "", "", "")
    return table


def _summary(places: list[dict[str, Any]]) -> str:
    streams = [fps for place in places for fps in place["streams"].values()]
    nodes = len({place["node"] for place in places if place["node"]})
    spare = sum(place["room"] - len(place["streams"]) for place in places)
    return (
        f"streams: {len(streams)}, on nodes: {nodes}, frames/s in all: {sum(streams):.1f},"
        f" room for more at once: {spare}"
    )
