"""``streamcam bench``: measure, in one run and on the same weights."""

import json
import os
import platform
from dataclasses import asdict
from fractions import Fraction
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from streamcam.broadcast import Broadcast
from streamcam.cli.options import configured, settings
from streamcam.config import Config
from streamcam.parameters import Parameters

if TYPE_CHECKING:
    from streamcam.diffusion.bench import Row


@click.group()
def bench() -> None:
    """Measure, in one run and on the same weights."""


@bench.command()
@click.option(
    "--rounds", type=click.IntRange(min=1), default=21, show_default=True, help="Frames per line."
)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@settings()
def pipeline(
    rounds: int,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Compare Stream Batch, guidance, similarity filter and prompt cache; show the overhead.

    Without --model a random one of 9 million parameters is measured, at 256x256. Each line is
    the median over all rounds, in which the lines of a group take turns, a frame each; ratios are
    against the first line of the group, round by round.
    """
    from streamcam.diffusion.bench import MOVING, Bench, machine
    from streamcam.sources.pattern import Pattern

    small = {"model": "random:small-sd-turbo", "width": 256, "height": 256}
    config = configured(presets, assignments, small | _given(flags) if not presets else flags)
    scene = Pattern(config.width, config.height, Fraction(4), MOVING)
    measured = Bench(config, list(scene.images()), rounds=rounds)
    console = Console(stderr=True)
    with console.status("measuring"):
        rows = list(measured.rows())
    if as_json:
        click.echo(json.dumps({"machine": machine(config), "rows": list(map(asdict, rows))}))
        return
    _print(rows, machine(config))


@bench.command()
@click.option(
    "--seconds", type=click.FloatRange(min=2), default=10.0, show_default=True, help="Per figure."
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Turns of the model."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@settings(Config, Broadcast, Parameters)
def live(
    seconds: float,
    rounds: int,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Measure what being on air adds: latency around the model, and frames it costs the model.

    The latency is read from the pixels of the test picture, with an engine that gives back every
    frame. Without --model a random one of 9 million parameters is measured, at 256x256.
    """
    from streamcam.runtime.bench import cost, latency

    small = {"model": "random:small-sd-turbo", "width": 256, "height": 256, "t_index_list": [45]}
    config = configured(presets, assignments, small | _given(flags) if not presets else flags)
    with Console(stderr=True).status("measuring"):
        added, taken = latency(config, seconds), cost(config, seconds, rounds)
    if as_json:
        figures = {"latency": asdict(added), "cost": asdict(taken)}
        click.echo(json.dumps(figures | {"machine": hardware()}))
        return
    click.echo(", ".join(f"{name} {value}" for name, value in hardware().items()))
    click.echo(
        f"latency added, {added.frames} frames: p50 {added.p50_ms:.1f} ms,"
        f" p95 {added.p95_ms:.1f} ms, p99 {added.p99_ms:.1f} ms"
        f" (interval {added.interval_ms:.1f} ms)"
    )
    click.echo(
        f"model alone {taken.alone_fps:.2f} fps, on air {taken.on_air_fps:.2f} fps:"
        f" {taken.share:+.1%} ({rounds} turns)"
    )


def hardware() -> dict[str, str | int]:
    """Return what the figures of a broadcast were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value not in (None, ())}


def _print(rows: "list[Row]", machine: dict[str, Any]) -> None:
    console = Console()
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), highlight=False)
    for title, lines in groupby(rows, attrgetter("table")):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("", min_width=26)
        for heading in ("ms/frame", "times as fast", "outside"):
            table.add_column(heading, justify="right")
        table.add_column("")
        for row in lines:
            share = f"{row.outside:.1%}" if row.outside > 1e-4 else ""
            table.add_row(row.name, f"{row.ms:.1f}", f"{row.ratio:.2f}", share, row.note)
        console.print(table)
