"""``streamcam bench video``: measure the video stream."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from streamcam.cli import bench_options
from streamcam.cli.options import configured, given, settings
from streamcam.pipelines import release_ranks, run_as_rank

if TYPE_CHECKING:
    from streamcam.bench.video_bench import VideoResult

SMALL = {"model": "random:tiny-wan", "width": 64, "height": 64}
WAN = {"model": "random:wan-1.3b", "width": 512, "height": 512}


@click.command()
@bench_options.seconds(10.0, least=1, help_text="Seconds that each run takes.")
@click.option(
    "--camera-fps",
    type=click.FloatRange(min=1, max=1000),
    metavar="NUMBER",
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
    """Measure video. At full speed, stage by stage, and on air at a camera's rate.

    Without --model, random weights are measured: on a GPU in the shapes of Wan 1.3B at 512x512,
    else small ones at 64x64.
    """
    from streamcam.bench.harness import machine
    from streamcam.bench.video_bench import measure
    from streamcam.engines.placement import pick_device

    settings_given = given(flags)
    if not presets:
        device = pick_device(settings_given.get("device", "auto"))
        settings_given = (SMALL if device.type == "cpu" else WAN) | settings_given
    config = configured(presets, assignments, {"pipeline": "video"} | settings_given)
    if run_as_rank(config, live=True):
        return
    scene = bench_options.moving_scene(config)
    with bench_options.status():
        result = measure(config, scene, seconds=seconds, camera_fps=camera_fps)
    release_ranks()
    facts = {
        name: machine(config)[name] for name in ("device", "threads", "torch", "model", "size")
    }
    facts["steps"] = config.num_steps
    if as_json:
        bench_options.print_json(facts, figures=asdict(result))
        return
    bench_options.print_facts(facts)
    for line in _lines(result):
        click.echo(line)


def _lines(result: "VideoResult") -> list[str]:
    stages = ", ".join(f"{name} {ms:.1f} ms" for name, ms in result.stages_ms.items())
    latency, jitter = (
        "/".join(f"{ms:.0f}" for ms in times) for times in (result.latency_ms, result.jitter_ms)
    )
    return [
        f"at full speed: {result.fps:.2f} fps",
        f"a chunk: {result.chunk_ms:.1f} ms; {stages}",
        f"on air: {result.on_air_fps:.2f} fps, first output after"
        f" {result.first_picture_s:.2f} s, {result.misses} of {result.delivered} outputs late,"
        f" {result.dropped} frames skipped to keep up",
        f"latency p50/p95/p99 {latency} ms, jitter {jitter} ms",
        f"it ran as {result.runs_as.partition(':')[0]}",
        f"memory: {result.memory / 2**30:.2f} GiB at most",
        *(
            f"device {index}: {rank.layers} layers, a call {rank.layers_ms:.1f} ms,"
            f" encoder and decoder {rank.fixed_ms:.1f} ms, waiting {rank.waiting_ms:.1f} ms,"
            f" memory {rank.memory / 2**30:.2f} GiB"
            for index, rank in enumerate(result.ranks)
        ),
    ]
