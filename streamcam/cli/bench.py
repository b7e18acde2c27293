"""``streamcam bench``: measure the image stream, engines, the broadcast and energy."""

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
    from streamcam.bench.cases import Row
    from streamcam.bench.energy import EnergyReading
    from streamcam.bench.engine_comparison import Result
    from streamcam.bench.steadiness import Steadiness


@click.group()
def bench() -> None:
    """Measure speed, power and delay on this machine."""


bench.add_command(targets)
bench.add_command(video)


@bench.command()
@bench_options.seconds(10.0, least=2, help_text="Seconds that each figure is measured for.")
@bench_options.rounds(3, "Times that each is measured, in turns; the median counts.")
@bench_options.as_json
@settings(Config, BroadcastSettings, Parameters)
def control(
    seconds: float,
    rounds: int,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Measure what it costs when many steer at once.

    The cost is frames that the model does not make, and output that is late.

    Ten control pages follow, 1000 changes a second arrive by OSC, and a modulator runs on every
    number that fades; those clients run on this machine too. Without --model nano is measured.
    """
    from streamcam.bench.control_cost import control_cost

    config = bench_options.configured_or_nano(presets, assignments, flags)
    with bench_options.status():
        found = control_cost(config, seconds, rounds)
    if as_json:
        bench_options.print_json(bench_options.hardware(), control=asdict(found))
        return
    bench_options.print_facts(bench_options.hardware())
    click.echo(
        f"model left alone {found.quiet_fps:.2f} fps, steered {found.busy_fps:.2f} fps:"
        f" {found.share:+.1%} ({found.rounds} turns, {found.changes:.0f} changes a second,"
        f" {found.modulators} modulators)"
    )
    click.echo(
        f"late ticks of {found.ticks}: left alone {found.quiet_late}, steered {found.busy_late}"
    )


@bench.command()
@bench_options.rounds(21, "Frames that each result is measured over.")
@click.option("--steering", is_flag=True, help="Measure what each way of steering costs instead.")
@bench_options.as_json
@settings()
def pipeline(
    rounds: int,
    steering: bool,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Measure what each technique of the pipeline is worth.

    Those are Stream Batch, guidance, similarity filter, prompt cache, long prompts and strength by
    region; the overhead is shown. With --steering, each way to steer the model is compared with
    none: LoRAs, ControlNets, regions, memory, weighted prompts, and image prompts if --ip-adapter
    is given; with the memory of its weights, and the most that a frame takes besides.

    Without --model a random one of 9 million parameters is measured, at 256x256. Each line is
    the median over all rounds, in which the lines of a group take turns, a frame each; ratios are
    against the first line of the group, round by round.
    """
    from streamcam.bench.harness import machine
    from streamcam.bench.image_bench import ImageBenchmark
    from streamcam.bench.steering_costs import steering_costs

    small = {"model": "random:small-sd-turbo", "width": 256, "height": 256}
    settings_given = given(flags) if presets else small | given(flags)
    # Techniques are compared, not engines: every line would need engines of its own.
    config = configured(presets, assignments, {"acceleration": "eager"} | settings_given)
    scene = bench_options.moving_scene(config)
    with bench_options.status():
        if steering:
            rows = list(steering_costs(config, scene, rounds))
        else:
            rows = list(ImageBenchmark(config, scene, rounds=rounds).rows())
    if as_json:
        bench_options.print_json(machine(config), rows=list(map(asdict, rows)))
        return
    bench_options.print_facts(machine(config))
    _print_rows(rows)


@bench.command()
@bench_options.seconds(10.0, least=2, help_text="Seconds that each figure is measured for.")
@bench_options.rounds(3, "Times that the model is measured; the median counts.")
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
    """Measure what being on air costs: latency, and frames.

    The latency is read from the pixels of the test pattern, with an engine that returns every
    frame. Without --model nano is measured.
    """
    from streamcam.bench.broadcast_overhead import cost, latency

    config = bench_options.configured_or_nano(presets, assignments, flags)
    with bench_options.status():
        added, loss = latency(config, seconds), cost(config, seconds, rounds)
    if as_json:
        figures = {"latency": asdict(added), "cost": asdict(loss)}
        bench_options.print_json(bench_options.hardware(), **figures)
        return
    bench_options.print_facts(bench_options.hardware())
    click.echo(
        f"latency added, {added.frames} frames: p50 {added.p50_ms:.1f} ms,"
        f" p95 {added.p95_ms:.1f} ms, p99 {added.p99_ms:.1f} ms"
        f" (interval {added.interval_ms:.1f} ms)"
    )
    click.echo(
        f"model alone {loss.alone_fps:.2f} fps, on air {loss.on_air_fps:.2f} fps:"
        f" {loss.share:+.1%} ({rounds} turns)"
    )


@bench.command()
@bench_options.rounds(21, "Frames that each result is measured over.")
@bench_options.as_json
@settings()
def engines(
    rounds: int,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Compare the engines of this machine on one model.

    Sequential steps and diffusers' own pipeline are measured too.

    All take turns, and each is timed after a first call, as one of many on air. "×" is how many
    times as fast as that pipeline, in float32 and in the dtype that all run in. "of the
    device" is the share of the rate that the device reaches in a large matrix product in the same
    dtype; int8, which --dtype int8 adds, is compared with float32. Without --model nano is
    measured.
    """
    from streamcam.bench.engine_comparison import Comparison
    from streamcam.bench.harness import machine

    config = bench_options.configured_or_nano(presets, assignments, flags)
    comparison = Comparison(config, bench_options.moving_scene(config), rounds=rounds)
    with bench_options.status():
        results = comparison.results()
    if as_json:
        rows = list(map(asdict, results))
        bench_options.print_json(machine(config), rows=rows, left_out=comparison.left_out)
        return
    bench_options.print_facts(machine(config))
    _print_results(results)
    for why in comparison.left_out:
        click.echo(f"left out: {why}")


@bench.command()
@click.option(
    "--frames",
    type=click.IntRange(min=10),
    metavar="N",
    default=32,
    show_default=True,
    help="Frames of each scene.",
)
@bench_options.as_json
@settings(Config, Parameters)
def steadiness(
    frames: int,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Measure how much the output flickers, and what steadies it.

    The warp error is how far outputs differ from the ones before moved with the scene, in grey
    levels; the sharpness is the gradient energy. The camera is drawn, noisy, and moves or stands
    still. Without --model nano is measured.
    """
    from streamcam.bench.harness import machine
    from streamcam.bench.steadiness import measure

    config = bench_options.configured_or_nano(presets, assignments, flags)
    with bench_options.status():
        rows = list(measure(config, frames))
    if as_json:
        bench_options.print_json(machine(config), rows=list(map(asdict, rows)))
        return
    bench_options.print_facts(machine(config))
    _print_steadiness(rows)


@bench.command()
@bench_options.seconds(20.0, least=1, help_text="Seconds that each result is measured for.")
@bench_options.as_json
@settings(Config, BroadcastSettings, Parameters)
def energy(
    seconds: float,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Measure the power that the device draws.

    A moving and a still scene, with the similarity filter off and on.

    Frames come at --fps, as from a camera. Without --model nano is measured.
    """
    from streamcam.bench.energy import counter_for, measure
    from streamcam.bench.harness import machine

    config = bench_options.configured_or_nano(presets, assignments, flags)
    counter = counter_for(config)
    with bench_options.status():
        readings = measure(config, bench_options.moving_scene(config), counter, seconds=seconds)
    if as_json:
        bench_options.print_json(machine(config), rows=list(map(asdict, readings)))
        return
    bench_options.print_facts(machine(config) | {"counter": counter.name})
    _print_readings(readings)


def _print_rows(rows: "list[Row]") -> None:
    console = Console()
    for title, lines in groupby(rows, attrgetter("table")):
        table = bench_options.table("ms/frame", "times as fast", "outside", title=title)
        table.add_column("")
        for row in lines:
            share = f"{row.outside:.1%}" if row.outside > 1e-4 else ""
            table.add_row(row.name, f"{row.ms:.1f}", f"{row.ratio:.2f}", share, row.note)
        console.print(table)


def _print_steadiness(rows: "list[Steadiness]") -> None:
    for scene, lines in groupby(rows, attrgetter("scene")):
        table = bench_options.table("warp error", "of off", "sharpness", "ms/frame", title=scene)
        for row in lines:
            table.add_row(
                row.name,
                f"{row.warp_error:.2f}",
                f"{row.warp_ratio:.2f}",
                f"{row.sharpness_ratio - 1:+.1%}",
                f"{row.ms:.1f}",
            )
        Console().print(table)


def _print_results(results: "list[Result]") -> None:
    baselines = results[0].ratios if results else {}
    over = [f"× {name.rpartition(' ')[2]}" for name in baselines]
    table = bench_options.table("ms/frame", "fps", "latency", "MB", "of the device", *over)
    for result in results:
        table.add_row(
            result.name,
            f"{result.ms:.1f}",
            f"{result.fps:.1f}",
            f"{result.latency_ms:.1f}",
            f"{result.memory / 1e6:.0f}",
            f"{result.share:.0%}",
            *(f"{result.ratios[name]:.2f}" for name in baselines),
        )
    Console().print(table)


def _print_readings(readings: "list[EnergyReading]") -> None:
    table = bench_options.table("watts", "joules a frame", "fps")
    for reading in readings:
        row = (f"{reading.watts:.1f}", f"{reading.joules_per_frame:.3f}", f"{reading.fps:.1f}")
        table.add_row(reading.name, *row)
    Console().print(table)
