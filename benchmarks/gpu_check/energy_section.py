"""Energy of a still and of a moving scene, with the similarity filter off and on."""

import time
from collections.abc import Iterator

from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import LeftOut, Reading, Record
from benchmarks.target_table import ENERGY, Outcome
from streamcam.bench.energy import MAX_FPS, counter_for, measure
from streamcam.bench.harness import iter_frames, no_report
from streamcam.cli.bench_options import moving_scene
from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.placement import place
from streamcam.errors import DeviceError, EngineError
from streamcam.settings.config import Config

RATE_S, WARM_CALLS = 1.0, 8


def energy(check: CheckSettings, engine: str) -> Iterator[Record]:  # noqa: ARG001
    """Yield watts and joules at the rate that the fastest engine without a build reaches."""
    config = check.config()
    try:
        counter = counter_for(config)
    except DeviceError as error:
        yield LeftOut(f"energy: {error}")
        return
    for name in reversed(check.ready_engines):
        try:
            config = check.config(acceleration=name)
            place(config)
            break
        except EngineError as error:
            yield LeftOut(f"energy on {name}: {error}")
    rate = max(1, min(MAX_FPS, int(_fps(config))))
    paced = config.model_copy(
        update={"broadcast": config.broadcast.model_copy(update={"fps": float(rate)})}
    )
    readings = measure(paced, moving_scene(paced), counter, seconds=check.seconds)
    for reading in readings:
        watts, joules = reading.watts, reading.joules_per_frame
        yield Reading(reading.name, {"W": watts, "J a frame": joules, "fps": reading.fps})
    off, on = readings[2:]
    note = f"{off.watts:.0f} W and {on.watts:.0f} W at {rate} fps on {name}, by {counter.name}"
    yield Outcome(ENERGY, off.watts / on.watts, note)


def _fps(config: Config) -> float:
    """Return the frames per second that the stream of `config` reaches here."""
    stream = DiffusionStream(load_image_model(config, no_report, builds_here=True), config)
    frames = iter_frames(moving_scene(config))
    for _ in range(WARM_CALLS):
        stream(next(frames), config.live)
    started_at, count = time.monotonic(), 0
    while time.monotonic() - started_at < RATE_S:
        stream(next(frames), config.live)
        count += 1
    return count / (time.monotonic() - started_at)
