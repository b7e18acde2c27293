"""Speed of the video pipeline: one step, the tiny autoencoder both ways."""

from collections.abc import Iterator

from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import LeftOut, Reading, Record
from benchmarks.target_table import VIDEO, VIDEO_OUTSIDE, Outcome
from streamcam.bench.video_bench import measure
from streamcam.cli.bench_options import moving_scene
from streamcam.errors import ConfigError, EngineError

CAMERA_FPS = 30.0
SETTINGS = {"pipeline": "video", "steps": 1, "video_encoder": "taehv", "video_decoder": "taehv"}


def video(check: CheckSettings, engine: str) -> Iterator[Record]:  # noqa: ARG001
    """Yield speed, stages and delivery on each engine that runs at once."""
    for name in reversed(check.ready_engines):
        try:
            config = check.config("video", **SETTINGS, acceleration=name)
            scene = moving_scene(config)
            result = measure(config, scene, seconds=check.seconds, camera_fps=CAMERA_FPS)
        except (ConfigError, EngineError) as error:
            yield LeftOut(f"video on {name}: {error}")
            continue
        outside = 100 * (1 - sum(result.stages_ms.values()) / result.chunk_ms)
        p50, p95, p99 = result.latency_ms
        yield Reading(
            f"video on {name}",
            {
                "fps": result.fps,
                "chunk, ms": result.chunk_ms,
                **{f"{stage}, ms": ms for stage, ms in result.stages_ms.items()},
                "% outside": outside,
                "first, s": result.first_picture_s,
                "on air, fps": result.on_air_fps,
                "late": result.misses,
                "dropped": result.dropped,
                "p50, ms": p50,
                "p95, ms": p95,
                "p99, ms": p99,
                "GiB": result.memory / 2**30,
            },
        )
        yield Outcome(VIDEO, result.fps, name)
        yield Outcome(VIDEO_OUTSIDE, outside, name)
