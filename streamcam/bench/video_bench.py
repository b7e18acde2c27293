"""What video costs: as fast as it goes, stage by stage, and on air against a camera's clock."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from streamcam.bench.harness import iter_frames
from streamcam.errors import ConfigError
from streamcam.settings.config import Config
from streamcam.types import Frame, Image
from streamcam.video.delivery_stats import DeliveryStats
from streamcam.video.device_memory import peak_memory
from streamcam.video.live_stream import LiveVideoStream
from streamcam.video.parallel.layer_ring import LayerRing
from streamcam.video.parallel.ring_rank import RankStatus
from streamcam.video.video_model import VideoModel, load_video_model
from streamcam.video.video_stream import VideoStream

UNCOUNTED_CHUNKS = 4
"""Beside those that fill the cache and the batch."""
STAGE_CHUNKS = 9
PERCENTS = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class RankFigures:
    """What one of several devices does for a call: medians, as fast as it goes."""

    layers_ms: float
    fixed_ms: float
    """Encoder and decoder, which the first device has."""
    waiting_ms: float
    layers: int
    """As they were shared in the end."""
    memory: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured; memory is in bytes."""

    fps: float
    """Pictures per second, with frames there as fast as they are taken."""
    stages_ms: dict[str, float]
    """Median for a chunk, each stage waited for: encode, layers (those of the first device),
    decode."""
    chunk_ms: float
    """All of a chunk, waited for alike."""
    first_picture_s: float
    """On air, from the capture of the first frame; the camera's time for a chunk is in it."""
    on_air_fps: float
    delivered: int
    dropped: int
    misses: int
    latency_ms: tuple[float, ...]
    """p50, p95, p99 of a chunk's oldest frame."""
    jitter_ms: tuple[float, ...]
    """p50, p95, p99 of what latency differs by from chunk to chunk."""
    runs_as: str
    """How the stream ran at the end, and how frames fared."""
    memory: int
    ranks: list[RankFigures]
    """Of several devices each; empty for one."""


def measure(
    config: Config, scene: Sequence[Image], *, seconds: float, camera_fps: float
) -> Figures:
    """Return what the video stream of `config` comes to on this machine.

    Args:
        config: with pipeline=video.
        scene: pictures to go round.
        seconds: to run as fast as it goes, and again on air.
        camera_fps: rate of the camera on air.

    Raises:
        StreamcamError: the model cannot be had, or cannot run here.
    """
    if config.pipeline != "video":
        raise ConfigError("bench video measures pipeline=video; bench pipeline measures the other")
    models = load_video_model(config, lambda _: None, live=True)
    fps, ranks = _throughput(models, config, scene, seconds)
    stages, chunk_ms = _stages(models, config, scene)
    live = LiveVideoStream(models, config)
    live.warm_up()
    first, stats = _on_air(live, config, scene, seconds, camera_fps)
    return Figures(
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
) -> tuple[float, list[RankFigures]]:
    """Return pictures per second, and how each of several devices fares."""
    stream, ring = VideoStream(models, config), models.layers
    frames = _warmed(stream, config, scene)
    began, made = time.perf_counter(), 0
    statuses: list[list[RankStatus]] = []
    # Whole chunks alone, so that none is paid for and not counted.
    while not made or time.perf_counter() - began < seconds:
        for _ in range(config.chunk):
            made += len(stream(next(frames), config.live))
        if isinstance(ring, LayerRing):
            statuses.append(ring.statuses)
    fps = made / (time.perf_counter() - began)
    return fps, [_rank_figures(own) for own in zip(*statuses, strict=True)]


def _rank_figures(statuses: Sequence[RankStatus]) -> RankFigures:
    def ms(name: str) -> float:
        return 1e3 * float(statistics.median(getattr(status, name) for status in statuses))

    return RankFigures(
        ms("layers_s"),
        ms("fixed_s"),
        ms("waiting_s"),
        statuses[-1].layers,
        statuses[-1].memory,
    )


def _warmed(stream: VideoStream, config: Config, scene: Sequence[Image]) -> Iterator[Frame]:
    """Take `stream` to where calls go on for ever; return the frames that follow."""
    frames = iter_frames(scene)
    chunks = UNCOUNTED_CHUNKS + config.num_steps + config.video.kv_frames
    for _ in range(1 + config.chunk * chunks):
        stream(next(frames), config.live)
    return frames


def _stages(
    models: VideoModel, config: Config, scene: Sequence[Image]
) -> tuple[dict[str, float], float]:
    """Return the milliseconds of each stage for a chunk, and of the whole chunk."""
    seconds: dict[str, list[float]] = {"encode": [], "layers": [], "decode": []}
    timed = models._replace(
        encode=_timed(models.encode, seconds["encode"], models.device),
        decode=_timed(models.decode, seconds["decode"], models.device),
    )
    chunks: list[float] = []
    with _timed_layers(models, seconds["layers"]):
        stream = VideoStream(timed, config)
        frames = _warmed(stream, config, scene)
        for own in seconds.values():
            own.clear()
        for _ in range(STAGE_CHUNKS):
            began = time.perf_counter()
            for _ in range(config.chunk):
                stream(next(frames), config.live)
            chunks.append(time.perf_counter() - began)
    # Steps that run one by one are several calls of the layers for one chunk.
    each = {
        name: 1e3 * statistics.median(own) * len(own) / STAGE_CHUNKS
        for name, own in seconds.items()
    }
    return each, 1e3 * statistics.median(chunks)


def _timed(stage: Any, seconds: list[float], device: torch.device) -> Any:
    return _Timed(stage, seconds, device)


class _Timed:
    """A stage that notes what each call takes."""

    def __init__(self, stage: Any, seconds: list[float], device: torch.device) -> None:
        self.reset: Callable[[], None] = stage.reset
        self._stage, self._seconds, self._device = stage, seconds, device

    def __call__(self, *given: Any) -> Any:
        _settle(self._device)
        began = time.perf_counter()
        result = self._stage(*given)
        _settle(self._device)
        self._seconds.append(time.perf_counter() - began)
        return result


@contextmanager
def _timed_layers(models: VideoModel, seconds: list[float]) -> Iterator[None]:
    """Note what each pass through the layers takes."""
    began: list[float] = []

    def before(*_: Any) -> None:
        _settle(models.device)
        began.append(time.perf_counter())

    def after(*_: Any) -> None:
        _settle(models.device)
        seconds.append(time.perf_counter() - began.pop())

    layers = models.layers.model
    hooks = layers.register_forward_pre_hook(before), layers.register_forward_hook(after)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _on_air(
    stream: LiveVideoStream, config: Config, scene: Sequence[Image], seconds: float, rate: float
) -> tuple[float, DeliveryStats]:
    """Run against a camera's clock; return the seconds until the first picture, and the tally."""
    began, index, first = time.monotonic(), 0, 0.0

    def frame() -> Frame:
        return Frame(scene[index % len(scene)], index, began + index / rate)

    while (now := time.monotonic() - began) < seconds or not first:
        came = int(now * rate) + 1
        if index == came:
            time.sleep(max(0.0, index / rate - now))
            continue
        while index < came - 1:
            stream.put(frame())
            index += 1
        made = stream(frame(), config.live)
        index += 1
        if made and not first:
            first = time.monotonic() - began
    return first, stream.delivery_stats


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
