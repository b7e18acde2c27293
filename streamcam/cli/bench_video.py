"""``streamcam bench video``."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from streamcam.cli import bench_options
from streamcam.cli.options import configured, given, settings
from streamcam.pipelines import release_ranks, run_as_rank

if TYPE_CHECKING:
    from streamcam.bench.video_bench import Figures

SMALL = {"model": "random:tiny-wan", "width": 64, "height": 64}
TRUE = {"model": "random:wan-1.3b", "width": 512, "height": 512}


@click.command()
@bench_options.seconds(10.0, least=1, of_what="Per run.")
@click.option(
    "--camera-fps",
    type=click.FloatRange(min=1, max=1000),
    default=30.0,
    show_default=True,
    help="Frames per second of the camera on air.",
)
@bench_options.as_json
@settings()
def video(
    seconds: float,
    camera_fps: float,
    as_json: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Measure video: as fast as it goes, stage by stage, and on air against a camera's clock.

    Without --model, random weights are measured: on a GPU in the shapes of Wan 1.3B at 512x512,
    else small ones at 64x64.
    """
    from streamcam.bench.harness import machine
    from streamcam.bench.video_bench import measure
    from streamcam.engines.placement import pick_device

    asked = given(flags)
    if not presets:
        device = pick_device(asked.get("device", "auto"))
        asked = (SMALL if device.type == "cpu" else TRUE) | asked
    config = configured(presets, assignments, {"pipeline": "video"} | asked)
    if run_as_rank(config, live=True):
        return
    scene = bench_options.moving_scene(config)
    with bench_options.status():
        figures = measure(config, scene, seconds=seconds, camera_fps=camera_fps)
    release_ranks()
    facts = {
        name: machine(config)[name] for name in ("device", "threads", "torch", "model", "size")
    }
    facts["steps"] = config.num_steps
    if as_json:
        bench_options.print_json(facts, figures=asdict(figures))
        return
    bench_options.print_facts(facts)
    for line in _told(figures):
        click.echo(line)


def _told(figures: "Figures") -> list[str]:
    stages = ", ".join(f"{name} {ms:.1f} ms" for name, ms in figures.stages_ms.items())
    latency, jitter = (
        "/".join(f"{ms:.0f}" for ms in times) for times in (figures.latency_ms, figures.jitter_ms)
    )
    return [
        f"as fast as it goes: {figures.fps:.2f} fps",
        f"a chunk: {figures.chunk_ms:.1f} ms; {stages}",
        f"on air: {figures.on_air_fps:.2f} fps, first picture after"
        f" {figures.first_picture_s:.2f} s, {figures.misses} of {figures.delivered} pictures late,"
        f" {figures.dropped} frames dropped",
        f"latency p50/p95/p99 {latency} ms, jitter {jitter} ms",
        f"it ran as {figures.runs_as.partition(':')[0]}",
        f"memory: {figures.memory / 2**30:.2f} GiB at most",
        *(
            f"device {rank}: {own.layers} layers, a call {own.layers_ms:.1f} ms,"
            f" encoder and decoder {own.fixed_ms:.1f} ms, waiting {own.waiting_ms:.1f} ms,"
            f" memory {own.memory / 2**30:.2f} GiB"
            for rank, own in enumerate(figures.ranks)
        ),
    ]
