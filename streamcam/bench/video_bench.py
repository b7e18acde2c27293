"""Benchmark of the video stream: throughput, stages, and on air at a camera's rate."""

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from streamcam.bench.harness import iter_frames, synchronize
from streamcam.engines.device_memory import peak_memory
from streamcam.errors import ConfigError
from streamcam.pipelines import PIPELINES, pipeline_of
from streamcam.settings.config import Config
from streamcam.types import Frame, Image
from streamcam.video.delivery_stats import DeliveryStats
from streamcam.video.live_stream import LiveVideoStream
from streamcam.video.parallel.layer_ring import LayerRing
from streamcam.video.parallel.ring_rank import RankStatus
from streamcam.video.video_model import VideoModel, load_video_model
from streamcam.video.video_stream import VideoStream

UNCOUNTED_CHUNKS = 4
"""Chunks before timing begins, in addition to those that fill the cache and the batch."""
STAGE_CHUNKS = 9
PERCENTS = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class RankResult:
    """Medians of one of several devices at full speed."""

    layers_ms: float
    fixed_ms: float
    """Encoder and decoder, which only the first device has."""
    waiting_ms: float
    layers: int
    """Layers of this device at the end."""
    memory: int


@dataclass(frozen=True, slots=True)
class VideoResult:
    """Result of ``streamcam bench video``; memory is in bytes."""

    fps: float
    """Outputs per second, with frames always ready."""
    stages_ms: dict[str, float]
    """Median for a chunk, synchronized after each stage: encode, layers (of the first device),
    decode."""
    chunk_ms: float
    """Median of a whole chunk, synchronized likewise."""
    first_picture_s: float
    """On air, from the capture of the first frame; includes the camera's time for a chunk."""
    on_air_fps: float
    delivered: int
    dropped: int
    misses: int
    latency_ms: tuple[float, ...]
    """p50, p95, p99 of a chunk's oldest frame."""
    jitter_ms: tuple[float, ...]
    """p50, p95, p99 of the difference in latency from chunk to chunk."""
    runs_as: str
    """Schedule of the stream at the end, and its counts of frames."""
    memory: int
    ranks: list[RankResult]
    """One for each of several devices; empty for a single device."""


def measure(
    config: Config, scene: Sequence[Image], *, seconds: float, camera_fps: float
) -> VideoResult:
    """Measure the video stream of `config` on this machine.

    Args:
        config: with pipeline=video.
        scene: images to run on, over and over.
        seconds: duration at full speed, and again on air.
        camera_fps: rate of the camera on air.

    Raises:
        StreamcamError: the model cannot be loaded, or cannot run here.
    """
    if pipeline_of(config) is not PIPELINES["video"]:
        raise ConfigError("bench video measures pipeline=video; bench pipeline measures the other")
    models = load_video_model(config, lambda _: None, live=True)
    fps, ranks = _throughput(models, config, scene, seconds)
    stages, chunk_ms = _stages(models, config, scene)
    live = LiveVideoStream(models, config)
    live.warm_up()
    first, stats = _on_air(live, config, scene, seconds, camera_fps)
    return VideoResult(
        fps=fps,
        stages_ms=stages,
        chunk_ms=chunk_ms,
        first_picture_s=first,
        on_air_fps=stats.delivered / seconds,
        delivered=stats.delivered,
        dropped=stats.dropped,
        misses=stats.misses,
        latency_ms=tuple(1e3 * (stats.latencies.percentile(p) or 0.0) for p in PERCENTS),
        jitter_ms=tuple(1e3 * (stats.jitter.percentile(p) or 0.0) for p in PERCENTS),
        runs_as=live.delivery_summary,
        memory=peak_memory(models.device),
        ranks=ranks,
    )


def _throughput(
    models: VideoModel, config: Config, scene: Sequence[Image], seconds: float
) -> tuple[float, list[RankResult]]:
    """Return outputs per second, and the medians of each of several devices."""
    stream, ring = VideoStream(models, config), models.layers
    frames = _warm_up(stream, config, scene)
    started_at, outputs = time.perf_counter(), 0
    statuses: list[list[RankStatus]] = []
    # Only whole chunks, so that none takes time and is not counted.
    while not outputs or time.perf_counter() - started_at < seconds:
        for _ in range(config.chunk):
            outputs += len(stream(next(frames), config.live))
        if isinstance(ring, LayerRing):
            statuses.append(ring.statuses)
    fps = outputs / (time.perf_counter() - started_at)
    return fps, [_rank_result(rank) for rank in zip(*statuses, strict=True)]


def _rank_result(statuses: Sequence[RankStatus]) -> RankResult:
    def ms(name: str) -> float:
        return 1e3 * float(statistics.median(getattr(status, name) for status in statuses))

    return RankResult(
        ms("layers_s"),
        ms("fixed_s"),
        ms("waiting_s"),
        statuses[-1].layers,
        statuses[-1].memory,
    )


def _warm_up(stream: VideoStream, config: Config, scene: Sequence[Image]) -> Iterator[Frame]:
    """Fill the cache and batch of `stream`; return the frames that follow."""
    frames = iter_frames(scene)
    chunks = UNCOUNTED_CHUNKS + config.num_steps + config.video.kv_frames
    for _ in range(config.chunk * chunks + config.video.first_extra):
        stream(next(frames), config.live)
    return frames


def _stages(
    models: VideoModel, config: Config, scene: Sequence[Image]
) -> tuple[dict[str, float], float]:
    """Return the milliseconds of each stage for a chunk, and of the whole chunk."""
    seconds: dict[str, list[float]] = {"encode": [], "layers": [], "decode": []}
    chunks: list[float] = []
    with _timed_stages(models, seconds):
        stream = VideoStream(models, config)
        frames = _warm_up(stream, config, scene)
        for times in seconds.values():
            times.clear()
        for _ in range(STAGE_CHUNKS):
            started_at = time.perf_counter()
            for _ in range(config.chunk):
                stream(next(frames), config.live)
            chunks.append(time.perf_counter() - started_at)
    # Steps that run one by one make several calls of the layers for one chunk.
    stages_ms = {
        name: 1e3 * statistics.median(times) * len(times) / STAGE_CHUNKS
        for name, times in seconds.items()
    }
    return stages_ms, 1e3 * statistics.median(chunks)


@contextmanager
def _timed_stages(models: VideoModel, seconds: dict[str, list[float]]) -> Iterator[None]:
    """Append the seconds of each call of a stage, from outside of what a CUDA graph records."""

    @contextmanager
    def timer(kind: str) -> Iterator[None]:
        synchronize(models.device)
        started_at = time.perf_counter()
        yield
        synchronize(models.device)
        seconds[kind].append(time.perf_counter() - started_at)

    layers = models.layers
    before, layers.timer = layers.timer, timer
    try:
        yield
    finally:
        layers.timer = before


def _on_air(
    stream: LiveVideoStream, config: Config, scene: Sequence[Image], seconds: float, rate: float
) -> tuple[float, DeliveryStats]:
    """Run at a camera's rate; return the seconds until the first output, and the figures."""
    started_at, index, first = time.monotonic(), 0, 0.0

    def frame() -> Frame:
        return Frame(scene[index % len(scene)], index, started_at + index / rate)

    while (now := time.monotonic() - started_at) < seconds or not first:
        captured = int(now * rate) + 1
        if index == captured:
            time.sleep(max(0.0, index / rate - now))
            continue
        while index < captured - 1:
            stream.put(frame())
            index += 1
        outputs = stream(frame(), config.live)
        index += 1
        if outputs and not first:
            first = time.monotonic() - started_at
    return first, stream.delivery_stats
