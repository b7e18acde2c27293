"""An exported model at work: pictures through the stream that a broadcast runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.settings.config import build_config
from streamcam.types import Frame, Image

HOME = (40,)
Prompt = str | list[list[Any]]
"""A text, or texts with their weights."""


class Renderer:
    """One model, loaded once, for all that is asked of it."""

    def __init__(self, model: str | Path, size: int) -> None:
        # Without a denoising batch every picture comes out of the call that its frame went into.
        self._base = {
            "model": str(model),
            "width": size,
            "height": size,
            "cfg_type": "none",
            "use_denoising_batch": False,
            "guidance_scale": 1.0,
            "offline": True,
            # The figures of one model must not hang on what a machine has installed.
            "dtype": "float32",
            "acceleration": "eager",
        }
        self._models = load_image_model(build_config([self._base]), report=lambda _: None)

    def render(
        self,
        pictures: Sequence[Image],
        prompt: Prompt,
        t_index_list: Sequence[int] = HOME,
        **settings: Any,
    ) -> list[Image]:
        """Return `pictures` as the model paints them, each from a fresh stream's noise."""
        asked = {"prompt": prompt, "t_index_list": list(t_index_list)}
        config = build_config([self._base, asked, settings])
        stream = DiffusionStream(self._models, config)
        frames = [Frame(picture, i, 0.0) for i, picture in enumerate(pictures)]
        return [out.image for frame in frames for out in stream(frame, config.live)]

    def round_trip(self, picture: Image) -> Image:
        """Return `picture` as the autoencoder alone gives it back."""
        from streamcam.frames.image_tensors import to_images, to_tensor

        latents = self._models.encode(to_tensor([picture], self._models.device), None)
        image: Image = to_images(self._models.decode(latents))[0]
        return image
