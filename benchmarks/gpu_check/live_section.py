"""On air: test pattern to null sink, through both processes."""

from collections.abc import Iterator

from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import LeftOut, Reading, Record
from streamcam.bench.broadcast_overhead import on_air
from streamcam.engines.placement import place
from streamcam.errors import EngineError

CAMERA_FPS, SMALL_CAMERA_FPS = 60.0, 10.0


def live(check: CheckSettings, engine: str) -> Iterator[Record]:  # noqa: ARG001
    """Yield rate, latency and dropped frames, on each engine that runs at once."""
    rate = SMALL_CAMERA_FPS if check.is_small else CAMERA_FPS
    for name in reversed(check.ready_engines):
        try:
            config = check.config(acceleration=name, fps=rate)
            place(config)
        except EngineError as error:
            yield LeftOut(f"live on {name}: {error}")
            continue
        run = on_air(config, check.seconds)
        latency = run.latency
        yield Reading(
            f"live on {name}",
            {
                "fps of the model": run.model_fps,
                "fps out": run.output_fps,
                "p50, ms": latency.p50_ms,
                "p95, ms": latency.p95_ms,
                "p99, ms": latency.p99_ms,
                "dropped": run.dropped,
                "running after, s": run.running_after_s,
            },
        )
