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

from streamcam.assets import NANO
from streamcam.broadcast import Broadcast
from streamcam.cli.bench_video import video
from streamcam.cli.options import configured, settings
from streamcam.config import AUTO, Config, with_model
from streamcam.parameters import Parameters

if TYPE_CHECKING:
    from streamcam.diffusion.bench import Row
    from streamcam.diffusion.compare import Standing


@click.group()
def bench() -> None:
    """Measure, in one run and on the same weights."""


bench.add_command(video)


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
    from streamcam.diffusion.bench import Bench
    from streamcam.diffusion.harness import MOVING, machine
    from streamcam.sources.pattern import Pattern

    small = {"model": "random:small-sd-turbo", "width": 256, "height": 256}
    asked = small | _given(flags) if not presets else flags
    # The ideas are compared, not the engines, of which every line would need some.
    config = configured(presets, assignments, {"acceleration": "eager"} | _given(asked))
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
    frame. Without --model nano is measured.
    """
    from streamcam.runtime.bench import cost, latency

    config = _of_nano(presets, assignments, flags)
    with Console(stderr=True).status("measuring"):
        added, taken = latency(config, seconds), cost(config, seconds, rounds)
    if as_json:
        figures = {"latency": asdict(added), "cost": asdict(taken)}
        click.echo(json.dumps(figures | {"machine": hardware()}))
        return
    click.echo(_told(hardware()))
    click.echo(
        f"latency added, {added.frames} frames: p50 {added.p50_ms:.1f} ms,"
        f" p95 {added.p95_ms:.1f} ms, p99 {added.p99_ms:.1f} ms"
        f" (interval {added.interval_ms:.1f} ms)"
    )
    click.echo(
        f"model alone {taken.alone_fps:.2f} fps, on air {taken.on_air_fps:.2f} fps:"
        f" {taken.share:+.1%} ({rounds} turns)"
    )


@bench.command()
@click.option(
    "--rounds", type=click.IntRange(min=1), default=21, show_default=True, help="Frames per line."
)
@click.option("--json", "as_json", is_flag=True, help="Print the lines as JSON.")
@settings()
def engines(
    rounds: int,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Compare every engine here, sequential steps, and diffusers' own pipeline, on one model.

    All take turns, a frame each. "of the device" is the share of the rate that the device
    reaches in a large matrix product in the same number format. Without --model nano is measured.
    """
    from streamcam.diffusion.compare import Comparison
    from streamcam.diffusion.harness import MOVING, machine
    from streamcam.sources.pattern import Pattern

    config = _of_nano(presets, assignments, flags)
    scene = list(Pattern(config.width, config.height, Fraction(4), MOVING).images())
    comparison = Comparison(config, scene, rounds=rounds)
    with Console(stderr=True).status("measuring"):
        standings = comparison.standings()
    if as_json:
        lines = {"rows": list(map(asdict, standings)), "left_out": comparison.left_out}
        click.echo(json.dumps({"machine": machine(config), **lines}))
        return
    _print_standings(standings, comparison.left_out, machine(config))


@bench.command()
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=20.0, show_default=True, help="Per line."
)
@click.option("--json", "as_json", is_flag=True, help="Print the lines as JSON.")
@settings(Config, Broadcast, Parameters)
def energy(
    seconds: float,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Read the device's power counter: a moving and a still scene, similarity filter off and on.

    Frames come at --fps, as from a camera. Without --model nano is measured.
    """
    from streamcam.diffusion.energy import counter_for, measure
    from streamcam.diffusion.harness import MOVING, machine
    from streamcam.sources.pattern import Pattern

    config = _of_nano(presets, assignments, flags)
    counter = counter_for(config)
    scene = list(Pattern(config.width, config.height, Fraction(4), MOVING).images())
    with Console(stderr=True).status("measuring"):
        draws = measure(config, scene, counter, seconds=seconds)
    if as_json:
        click.echo(json.dumps({"machine": machine(config), "rows": list(map(asdict, draws))}))
        return
    console = Console()
    console.print(_told(machine(config) | {"counter": counter.name}), highlight=False)
    table = _table("watts", "joules a frame", "fps")
    for draw in draws:
        figures = (f"{draw.watts:.1f}", f"{draw.joules_per_frame:.3f}", f"{draw.fps:.1f}")
        table.add_row(draw.name, *figures)
    console.print(table)


def hardware() -> dict[str, str | int]:
    """Return what the figures of a broadcast were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def _of_nano(
    presets: tuple[str, ...], assignments: tuple[str, ...], flags: dict[str, Any]
) -> Config:
    """Return what was asked for, of nano where no model is named."""
    config = configured(presets, assignments, flags)
    return with_model(config, NANO) if config.model == AUTO else config


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value not in (None, ())}


def _told(facts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def _table(*headings: str, title: str | None = None) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("", min_width=26, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _print_standings(
    standings: "list[Standing]", left_out: list[str], machine: dict[str, Any]
) -> None:
    console = Console()
    console.print(_told(machine), highlight=False)
    table = _table("ms/frame", "fps", "latency", "MB", "of the device", "times as fast")
    for line in standings:
        table.add_row(
            line.name,
            f"{line.ms:.1f}",
            f"{line.fps:.1f}",
            f"{line.latency_ms:.1f}",
            f"{line.memory / 1e6:.0f}",
            f"{line.share:.0%}",
            f"{line.ratio:.2f}",
        )
    console.print(table)
    for why in left_out:
        console.print(f"left out: {why}", highlight=False, markup=False)


def _print(rows: "list[Row]", machine: dict[str, Any]) -> None:
    console = Console()
    console.print(_told(machine), highlight=False)
    for title, lines in groupby(rows, attrgetter("table")):
        table = _table("ms/frame", "times as fast", "outside", title=title)
        table.add_column("")
        for row in lines:
            share = f"{row.outside:.1%}" if row.outside > 1e-4 else ""
            table.add_row(row.name, f"{row.ms:.1f}", f"{row.ratio:.2f}", share, row.note)
        console.print(table)
