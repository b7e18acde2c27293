"""Render images with an exported model, through the same stream as a broadcast."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame, Image

DEFAULT_T_INDEX_LIST = (40,)
Prompt = str | list[list[Any]]
"""Text, or list of texts with their weights."""


class Renderer:
    """Model that is loaded once and renders any images at one size: a side, or width and height."""

    def __init__(self, model: str | Path, size: int | tuple[int, int]) -> None:
        width, height = (size, size) if isinstance(size, int) else size
        # Without a denoising batch every call returns the output of its own frame.
        self._base = {
            "model": str(model),
            "width": width,
            "height": height,
            "cfg_type": "none",
            "use_denoising_batch": False,
            "guidance_scale": 1.0,
            # Outputs are judged one by one.
            "output_blend": 0.0,
            "offline": True,
            # The figures of a model must not depend on the packages that a machine has installed.
            "dtype": "float32",
            "acceleration": "eager",
        }
        self.output_blend = build_config([{"model": str(model)}]).live.output_blend
        """The model's own setting, for outputs as on air."""
        self._models = load_image_model(build_config([self._base]), report=lambda _: None)

    def render(
        self,
        images: Sequence[Image],
        prompt: Prompt,
        t_index_list: Sequence[int] = DEFAULT_T_INDEX_LIST,
        **settings: Any,
    ) -> list[Image]:
        """Return the model's outputs for `images`, from a new stream."""
        call = {"prompt": prompt, "t_index_list": list(t_index_list)}
        config = build_config([self._base, call, settings])
        stream = DiffusionStream(self._models, config)
        frames = [Frame(image, i, 0.0) for i, image in enumerate(images)]
        return [out.image for frame in frames for out in stream(frame, config.live)]

    def round_trip(self, image: Image) -> Image:
        """Return `image` after encoding and decoding, without the U-Net."""
        from streamcam.frames.image_tensors import to_images, to_tensor

        latents = self._models.encode(to_tensor([image], self._models.device), None)
        decoded: Image = to_images(self._models.decode(latents))[0]
        return decoded
