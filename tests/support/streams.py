"""Run frames through an image stream, and record the calls of every stage."""

from collections import Counter
from typing import Any

import numpy as np
import torch

from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame

EAGER = {"dtype": "float32", "acceleration": "eager"}
"""Settings for eager stages in float32, on any machine."""
TINY = {"model": "random:tiny-sd-turbo", "width": 64, "height": 64, "prompt": "a cat"} | EAGER


def moving(count: int, *, size: int = 64, seed: int = 0) -> list[Frame]:
    """Return frames of noise, all different."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return [Frame(image, i, i / 30) for i, image in enumerate(images)]


def still(count: int, *, size: int = 64, seed: int = 0, first: int = 0) -> list[Frame]:
    """Return `count` frames of the same image."""
    image = moving(1, size=size, seed=seed)[0].image
    return [Frame(image, i, i / 30) for i in range(first, first + count)]


class RecordingStream:
    """Image stream that records the calls of its stages.

    `calls` counts them by stage, `rows` lists the batch size of each call of the U-Net, and
    `latents` each decoded x_0, ``(C, h, w)``.
    """

    def __init__(self, models: ImageModel | None = None, **settings: Any) -> None:
        self.config = build_config([TINY, settings])
        self.models = models or load_image_model(self.config, report=lambda _: None)
        self.calls: Counter[str] = Counter()
        self.rows: list[int] = []
        self.latents: list[torch.Tensor] = []
        self.stream = DiffusionStream(self._recorded(self.models), self.config)

    def _recorded(self, models: ImageModel) -> ImageModel:
        def stage(name: str, function: Any) -> Any:
            def call(first: Any, *rest: Any) -> Any:
                self.calls[name] += 1
                if name == "denoise":
                    self.rows.append(len(first))
                if name == "decode":
                    self.latents.extend(first.clone())
                return function(first, *rest)

            return call

        names = ("encode_text", "encode", "denoise", "decode")
        return models._replace(**{name: stage(name, getattr(models, name)) for name in names})

    def __call__(
        self, frames: list[Frame], changes: dict[int, dict[str, Any]] | None = None
    ) -> Any:
        """Return all output frames, including the drained ones.

        `changes` maps the index of a frame to the parameters that change from it on.
        """
        out: list[Frame] = []
        parameters = self.config.live
        for frame in frames:
            parameters = parameters.changed((changes or {}).get(frame.index, {}))
            out += self.stream(frame, parameters)
        return out + self.stream.drain(parameters)


def images(frames: list[Frame]) -> np.ndarray:
    """Return the images of `frames` as one array."""
    return np.stack([frame.image for frame in frames])
