"""``streamcam bench``: measure, in one run and on the same weights."""

from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from streamcam.cli import bench_options
from streamcam.cli.bench_targets import targets
from streamcam.cli.bench_video import video
from streamcam.cli.options import configured, given, settings
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters

if TYPE_CHECKING:
    from streamcam.bench.energy import Draw
    from streamcam.bench.engine_comparison import Standing
    from streamcam.bench.image_bench import Row


@click.group()
def bench() -> None:
    """Measure, in one run and on the same weights."""


bench.add_command(targets)
bench.add_command(video)


@bench.command()
@bench_options.rounds(21, "Frames per line.")
@bench_options.as_json
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
    from streamcam.bench.harness import machine
    from streamcam.bench.image_bench import Bench

    small = {"model": "random:small-sd-turbo", "width": 256, "height": 256}
    asked = given(flags) if presets else small | given(flags)
    # The ideas are compared, not the engines, of which every line would need some.
    config = configured(presets, assignments, {"acceleration": "eager"} | asked)
    measured = Bench(config, bench_options.moving_scene(config), rounds=rounds)
    with bench_options.status():
        rows = list(measured.rows())
    if as_json:
        bench_options.print_json(machine(config), rows=list(map(asdict, rows)))
        return
    bench_options.print_facts(machine(config))
    _print_rows(rows)


@bench.command()
@bench_options.seconds(10.0, least=2, of_what="Per figure.")
@bench_options.rounds(3, "Turns of the model.")
@bench_options.as_json
@settings(Config, BroadcastSettings, Parameters)
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
    from streamcam.bench.broadcast_overhead import cost, latency

    config = bench_options.of_nano(presets, assignments, flags)
    with bench_options.status():
        added, taken = latency(config, seconds), cost(config, seconds, rounds)
    if as_json:
        figures = {"latency": asdict(added), "cost": asdict(taken)}
        bench_options.print_json(bench_options.hardware(), **figures)
        return
    bench_options.print_facts(bench_options.hardware())
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
@bench_options.rounds(21, "Frames per line.")
@bench_options.as_json
@settings()
def engines(
    rounds: int,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Compare every engine here, sequential steps, and diffusers' own pipeline, on one model.

    All take turns, and are timed once they have made a call, as one of many on air. "×" is how many
    times as fast as that pipeline, in float32 and in the number format that all run in. "of the
    device" is the share of the rate that the device reaches in a large matrix product in the same
    format. Without --model nano is measured.
    """
    from streamcam.bench.engine_comparison import Comparison
    from streamcam.bench.harness import machine

    config = bench_options.of_nano(presets, assignments, flags)
    comparison = Comparison(config, bench_options.moving_scene(config), rounds=rounds)
    with bench_options.status():
        standings = comparison.standings()
    if as_json:
        rows = list(map(asdict, standings))
        bench_options.print_json(machine(config), rows=rows, left_out=comparison.left_out)
        return
    bench_options.print_facts(machine(config))
    _print_standings(standings)
    for why in comparison.left_out:
        click.echo(f"left out: {why}")


@bench.command()
@bench_options.seconds(20.0, least=1, of_what="Per line.")
@bench_options.as_json
@settings(Config, BroadcastSettings, Parameters)
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
    from streamcam.bench.energy import counter_for, measure
    from streamcam.bench.harness import machine

    config = bench_options.of_nano(presets, assignments, flags)
    counter = counter_for(config)
    with bench_options.status():
        draws = measure(config, bench_options.moving_scene(config), counter, seconds=seconds)
    if as_json:
        bench_options.print_json(machine(config), rows=list(map(asdict, draws)))
        return
    bench_options.print_facts(machine(config) | {"counter": counter.name})
    _print_draws(draws)


def _print_rows(rows: "list[Row]") -> None:
    console = Console()
    for title, lines in groupby(rows, attrgetter("table")):
        table = bench_options.table("ms/frame", "times as fast", "outside", title=title)
        table.add_column("")
        for row in lines:
            share = f"{row.outside:.1%}" if row.outside > 1e-4 else ""
            table.add_row(row.name, f"{row.ms:.1f}", f"{row.ratio:.2f}", share, row.note)
        console.print(table)


def _print_standings(standings: "list[Standing]") -> None:
    peers = standings[0].ratios if standings else {}
    over = [f"× {peer.rpartition(' ')[2]}" for peer in peers]
    table = bench_options.table("ms/frame", "fps", "latency", "MB", "of the device", *over)
    for line in standings:
        table.add_row(
            line.name,
            f"{line.ms:.1f}",
            f"{line.fps:.1f}",
            f"{line.latency_ms:.1f}",
            f"{line.memory / 1e6:.0f}",
            f"{line.share:.0%}",
            *(f"{line.ratios[peer]:.2f}" for peer in peers),
        )
    Console().print(table)


def _print_draws(draws: "list[Draw]") -> None:
    table = bench_options.table("watts", "joules a frame", "fps")
    for draw in draws:
        figures = (f"{draw.watts:.1f}", f"{draw.joules_per_frame:.3f}", f"{draw.fps:.1f}")
        table.add_row(draw.name, *figures)
    Console().print(table)
