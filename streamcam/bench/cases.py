"""Cases of a benchmark: streams that are timed in turns, and the lines of their table."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamcam.bench.harness import iter_frames, synchronize
from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.stream import DiffusionStream
from streamcam.settings.config import Config
from streamcam.types import Image


@dataclass(slots=True)
class Row:
    """One line of a table; times are medians over all rounds, in milliseconds per frame."""

    table: str
    name: str
    ms: float
    ratio: float
    """Time of the first line of the group over that of this one: 2 is twice as fast."""
    outside: float
    """Share of the time spent outside the models, 0 to 1."""
    note: str = ""


@dataclass(slots=True)
class Case:
    """One way to run, timed a few frames at a time so that all cases share the machine's noise."""

    name: str
    step: Callable[[], float]
    """Runs one frame; returns the seconds of it that were spent inside the models."""
    note: Callable[[], str] = str
    total_seconds: list[float] = field(default_factory=list)
    model_seconds: list[float] = field(default_factory=list)

    def run(self, frames: int) -> None:
        """Time `frames` frames and keep their mean."""
        started_at = time.perf_counter()
        inside = sum(self.step() for _ in range(frames))
        self.total_seconds.append((time.perf_counter() - started_at) / frames)
        self.model_seconds.append(inside / frames)


def measured(
    table: str, cases: Sequence[Case], rounds: int, *, frames: int = 1, warm_up: int
) -> Iterator[Row]:
    """Time `cases` in turns, and yield a line for each.

    Args:
        table: heading of the lines.
        cases: ratios are against the first.
        rounds: frames of each that are timed.
        frames: of a turn.
        warm_up: frames before the first turn.
    """
    for case in cases:
        case.run(warm_up)
        case.total_seconds.clear()
        case.model_seconds.clear()
    for _ in range(-(-rounds // frames)):
        for case in cases:
            case.run(frames)
    for case in cases:
        pairs = zip(cases[0].total_seconds, case.total_seconds, strict=True)
        shares = zip(case.total_seconds, case.model_seconds, strict=True)
        yield Row(
            table=table,
            name=case.name,
            ms=statistics.median(case.total_seconds) * 1e3,
            ratio=statistics.median(first / own for first, own in pairs),
            outside=statistics.median(1 - inside / total for total, inside in shares),
            note=case.note(),
        )


def stream_case(name: str, models: ImageModel, config: Config, scene: Sequence[Image]) -> Case:
    """Return the case of a stream over `scene`, again and again."""
    timer = ModelTimer(models)
    stream = DiffusionStream(timer.models, config)
    frames = iter_frames(scene)

    def step() -> float:
        timer.seconds = 0.0
        for _ in range(config.frame_buffer_size):
            stream(next(frames), config.live)
        return timer.seconds

    def note() -> str:
        total = stream.counts["processed"] + stream.counts["skipped"]
        return f"{stream.counts['skipped'] / total:.0%} of frames skipped"

    filtered = config.live.enable_similar_image_filter
    return Case(name, step, note if filtered else str)


class ModelTimer:
    """Add up the time that a stream spends in its models."""

    def __init__(self, models: ImageModel) -> None:
        self.seconds = 0.0
        self._device = models.device
        self.models = models._replace(
            encode=self._timed(models.encode),
            denoise=self._timed(models.denoise),
            decode=self._timed(models.decode),
            region_mask=models.region_mask and self._timed(models.region_mask),
            controls=[
                control._replace(predict=self._timed(control.predict))
                for control in models.controls
            ],
        )

    def _timed(self, stage: Callable[..., Any]) -> Callable[..., Any]:
        def call(*tensors: Any) -> Any:
            synchronize(self._device)
            started_at = time.perf_counter()
            result = stage(*tensors)
            synchronize(self._device)
            self.seconds += time.perf_counter() - started_at
            return result

        return call
