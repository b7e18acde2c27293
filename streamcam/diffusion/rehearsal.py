"""Run the stages as they are written on drawn scenes, and record their calls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.accuracy import psnr
from streamcam.engines.flat_stage import Call, FlatForward, Samples, flatten_args
from streamcam.pixels import fitted
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.sources.demo import Demo
from streamcam.sources.pattern import MovingPattern
from streamcam.types import Frame, Image

PROMPTS = (
    "watercolor",
    "oil painting",
    "neon lights",
    "comic book",
    "mosaic",
    "photo",
    "cyberpunk city at night",
    "charcoal drawing",
    "pixel art",
    "stained glass",
    "thermal camera",
    "marble statue",
)
"""Prompts to calibrate with, next to that of the settings."""
OTHER_PROMPTS = ("impressionist painting", "ink drawing", "anime", "glowing embers", "blueprint")
"""Held-out prompts, to measure accuracy with."""
IMAGES, OTHER_IMAGES = 24, 8
"""Images to calibrate on, and held-out ones."""
STAGES = ("encode", "denoise", "decode")


class StreamRehearsal:
    """The stream of `config` on drawn scenes, with the stages as they are written.

    Args:
        model: its stages, without engines.
        config: the settings that the stream will run with.
    """

    def __init__(self, model: ImageModel, config: Config) -> None:
        self.model = model
        """Its stages as they are written."""
        self._config = config
        self._accepted: dict[str, FlatForward] = {}

    def samples(self, stage: nn.Module) -> Samples:
        """Return the calls of `stage`, all of one signature."""
        name = self._name(stage)
        calibration, held_out = self._recorded
        return Samples(calibration[name], held_out[name])

    def image_psnr(self, stage: nn.Module, run: FlatForward) -> float:
        """Return the least PSNR in dB of the held-out images with `stage` replaced by `run`."""
        replaced = self._accepted | {self._name(stage): run}
        images = self._images(replaced)
        pairs = zip(images, self._expected, strict=True)
        return min(psnr(torch.from_numpy(a), torch.from_numpy(b), peak=255.0) for a, b in pairs)

    def accept(self, stage: nn.Module, run: FlatForward) -> None:
        """Replace `stage` by `run` from now on."""
        self._accepted[self._name(stage)] = run

    def _name(self, stage: nn.Module) -> str:
        return next(name for name in STAGES if getattr(self.model, name) is stage)

    @cached_property
    def _recorded(self) -> tuple[dict[str, list[Call]], dict[str, list[Call]]]:
        """The calls of every stage: to calibrate with, and held-out ones."""
        prompts = (*self._own_prompts, *PROMPTS)
        scenes = list(_scenes(self._config, seed=0, count=IMAGES))
        others = list(_scenes(self._config, seed=1, count=OTHER_IMAGES))
        return self._record(scenes, prompts), self._record(others, OTHER_PROMPTS)

    @property
    def _own_prompts(self) -> list[str]:
        return [text for text, weight in self._config.live.prompt if weight]

    def _record(self, scenes: Sequence[Image], prompts: Sequence[str]) -> dict[str, list[Call]]:
        recorders = {name: _Recorder(getattr(self.model, name)) for name in STAGES}
        self._run(_with_stages(self.model, recorders), scenes, prompts)
        return {name: recorder.calls for name, recorder in recorders.items()}

    @cached_property
    def _expected(self) -> list[Image]:
        return self._images({})

    def _images(self, replaced: dict[str, FlatForward]) -> list[Image]:
        stages: dict[str, Any] = {name: _flattening(run) for name, run in replaced.items()}
        scenes = list(_scenes(self._config, seed=1, count=OTHER_IMAGES))
        return self._run(_with_stages(self.model, stages), scenes, OTHER_PROMPTS)

    def _run(
        self, model: ImageModel, scenes: Sequence[Image], prompts: Sequence[str]
    ) -> list[Image]:
        stream = DiffusionStream(model, self._config)
        snapshots = rehearsed(self._config.live, prompts)
        outputs: list[Frame] = []
        for index, scene in enumerate(scenes):
            outputs += stream(Frame(scene, index, 0.0), snapshots[index % len(snapshots)])
        return [output.image for output in outputs]


def rehearsed(live: Parameters, prompts: Sequence[str]) -> list[Parameters]:
    """Return the snapshots to run with: `live` with each of `prompts`, and all LoRAs heard.

    Ranges are measured, and a LoRA that is silent at start would have none.
    """
    unfiltered = live.changed({"enable_similar_image_filter": False})
    heard = [(name, scale or 1.0) for name, scale in live.lora_scale]
    return [
        unfiltered.changed({"prompt": text} | ({"lora_scale": heard} if i % 2 else {}))
        for i, text in enumerate(prompts)
    ]


def _with_stages(model: ImageModel, stages: Mapping[str, Callable[..., Tensor]]) -> ImageModel:
    """Return `model` with some of its stages replaced."""
    encode, denoise, decode = (stages.get(name, getattr(model, name)) for name in STAGES)
    return model._replace(encode=encode, denoise=denoise, decode=decode)


class _Recorder:
    """Runs a stage and keeps the tensors of its calls, those of the first call's shapes."""

    def __init__(self, stage: Callable[..., Tensor]) -> None:
        self._stage = stage
        self._signature: object = None
        self.calls: list[Call] = []

    def __call__(self, *args: Any) -> Tensor:
        tensors, signature, _ = flatten_args(args)
        self._signature = self._signature or signature
        if signature == self._signature:
            with torch.inference_mode(False):
                # Those of a stream are inference tensors, which nothing can be built with.
                copies = [t.clone(memory_format=torch.contiguous_format) for t in tensors]
            self.calls.append(copies)
        return self._stage(*args)


def _flattening(run: FlatForward) -> Callable[..., Tensor]:
    def stage(*args: Any) -> Tensor:
        tensors, _, _ = flatten_args(args)
        return run(*tensors)

    return stage


def _scenes(config: Config, seed: int, count: int) -> Iterator[Image]:
    """Yield images ``(H, W, 3)``: drawn people, test patterns and clouds of colour, in turns.

    Light, contrast and colours differ, as they do between rooms and cameras.
    """
    rng = np.random.default_rng(seed)
    side = max(config.width, config.height)
    person, pattern = (kind(side, side, Fraction(1)) for kind in (Demo, MovingPattern))
    for index in range(count):
        moment = index + 0.37 * seed
        if index % 3 == 0:
            image = person.image_at(round(7 * moment), 0.0)
        elif index % 3 == 1:
            image = pattern.image_at(round(5 * moment), 0.0)
        else:
            image = _clouds(rng, side)
        fitted_image = fitted(image, config.width, config.height, "fill")
        yield _relit(rng, fitted_image) if index >= 3 else fitted_image


def _clouds(rng: np.random.Generator, side: int) -> Image:
    """Return noise of all sizes, with amplitudes as those of natural images: as 1/f."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    phase = np.exp(2j * np.pi * rng.random((3, *frequency.shape)))
    waves = np.fft.irfft2(phase / frequency, s=(side, side))
    waves /= waves.std((1, 2), keepdims=True)
    # One brightness for all colours, and a little of each for itself.
    mixed = waves[:1] * 0.8 + waves * 0.5
    image: Image = (128 + 55 * mixed).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(image)


def _relit(rng: np.random.Generator, image: Image) -> Image:
    gain = rng.uniform(0.4, 1.3) * rng.uniform(0.85, 1.15, 3)
    lit: Image = (image * gain + rng.uniform(-20, 40)).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(lit[:, :: rng.choice((-1, 1))])
