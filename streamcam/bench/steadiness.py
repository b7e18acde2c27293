"""Benchmark of steadiness: how much outputs flicker, how sharp they stay, and what that costs."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from streamcam.bench.harness import changed, no_report
from streamcam.bench.steadiness_scene import handheld_scene, sharpness, warp_error
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.settings.config import Config
from streamcam.types import Frame, Image

OFF = {"output_blend": 0.0}
"""A model may steady its output by itself."""
SETTLES = 6
"""Frames at the beginning that do not count."""
WAYS: dict[str, dict[str, Any]] = {
    "off": {},
    "temporal_memory attention": {"temporal_memory": "attention"},
    "temporal_memory features": {"temporal_memory": "features"},
    "noise_follow": {"noise_follow": True},
    "output_blend 0.5": {"output_blend": 0.5},
    "output_blend 0.8": {"output_blend": 0.8},
}
"""What is compared, by its name."""


@dataclass(slots=True)
class Steadiness:
    """One way to steady the output, on one scene."""

    scene: str
    name: str
    warp_error: float
    """Grey levels."""
    sharpness: float
    """Gradient energy."""
    ms: float
    """Milliseconds a frame, the median."""
    warp_ratio: float
    """Warp error over that of the first way."""
    sharpness_ratio: float


def measure(config: Config, frames: int) -> Iterator[Steadiness]:
    """Yield every way on a camera that pans, and on one that stands still."""
    models: dict[str, ImageModel] = {}
    for name, pans in (("moving camera", True), ("still camera", False)):
        scene = handheld_scene(config.width, config.height, frames, pans=pans)
        first: Steadiness | None = None
        for way, settings in WAYS.items():
            outputs, ms = run(with_settings(config, OFF | settings), scene, models)
            error = warp_error(scene[SETTLES:], outputs[SETTLES:])
            energy = sharpness(outputs[SETTLES:])
            row = Steadiness(name, way, error, energy, ms, 1.0, 1.0)
            first = first or row
            row.warp_ratio = error / first.warp_error
            row.sharpness_ratio = energy / first.sharpness
            yield row


def with_settings(config: Config, settings: dict[str, Any]) -> Config:
    """Return `config` with settings that are live or fixed at start."""
    fixed = {name: value for name, value in settings.items() if name == "temporal_memory"}
    live = {name: value for name, value in settings.items() if name not in fixed}
    return changed(config, **fixed, live=config.live.changed(live))


def run(
    config: Config, scene: Sequence[Image], models: dict[str, ImageModel]
) -> tuple[list[Image], float]:
    """Return the outputs for `scene`, and the milliseconds a frame; keeps models that it loads."""
    if config.temporal_memory not in models:
        models[config.temporal_memory] = load_image_model(config, no_report, builds_here=True)
    stream = DiffusionStream(models[config.temporal_memory], config)
    outputs, seconds = [], []
    for index, image in enumerate(scene):
        started_at = time.perf_counter()
        outputs += stream(Frame(image, index, index / 24), config.live)
        seconds.append(time.perf_counter() - started_at)
    outputs += stream.drain(config.live)
    return [output.image for output in outputs], statistics.median(seconds) * 1e3
