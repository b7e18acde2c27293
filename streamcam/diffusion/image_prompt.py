"""Image prompts in the U-Net: the cross-attentions attend to images besides the text.

Each image's keys and values for all layers are computed once, as the text's are. They and the scale
of each image are inputs of the U-Net's stage. Images are attended to one by one and added, as
diffusers does with one IP-Adapter for each: ``text + sum of scale * image``.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from streamcam.diffusion.attention import CachedCrossAttention, attend, project
from streamcam.diffusion.steering import LayerInputs
from streamcam.errors import ModelError
from streamcam.models.ip_adapter import IpAdapter, cross_attentions
from streamcam.models.ip_adapter_files import read_image
from streamcam.settings.config import CAMERA, Config
from streamcam.settings.named_numbers import short_names
from streamcam.types import Image


class EncodedImage(NamedTuple):
    """The keys and values of one image for every cross-attention, ``(1, tokens, width)``."""

    positive: Tensor
    negative: Tensor
    """For rows with the negative prompt: those of no image."""


class ImagePromptModel:
    """Encodes images for a U-Net, and holds those that were given at start.

    Args:
        adapter: on the U-Net's device.
        names: short names of the images, in the order of their slots.
    """

    def __init__(self, adapter: IpAdapter, names: tuple[str, ...]) -> None:
        self.adapter = adapter
        self.names = names
        with torch.inference_mode():
            self.nothing: Tensor = adapter(None)
            """Keys and values of no image."""
        self.images: dict[str, EncodedImage] = {}
        """Encoded images by name."""

    def encode(self, image: Image) -> EncodedImage:
        """Encode an image ``(H, W, 3)`` uint8 sRGB.

        Raises:
            ModelError: its keys and values are not finite.
        """
        with torch.inference_mode():
            positive = self.adapter(self.adapter.pixels(image))
            if not torch.isfinite(positive).all():
                raise ModelError("its tokens are not finite (NaN or infinity); try --dtype float32")
        return EncodedImage(positive, self.nothing)


def add_image_prompts(
    unet: Any, adapter: IpAdapter, config: Config, inputs: LayerInputs
) -> ImagePromptModel:
    """Let the cross-attentions of `unet` attend to image prompts; encode those of `config`.

    Args:
        unet: with the attention processors that it is to have for texts.
        adapter: for that U-Net, on its device.
        config: names the images.
        inputs: those of the stage that `unet` is in.

    Raises:
        MediaError: an image is damaged, too large or missing.
    """
    names = short_names(config.image_prompt)
    model = ImagePromptModel(adapter, tuple(names.values()))
    processors, start = dict(unet.attn_processors), 0
    for name, width in cross_attentions(unet):
        before = processors[f"{name}.processor"]
        processors[f"{name}.processor"] = ImagePromptAttention(
            before if isinstance(before, CachedCrossAttention) else None,
            inputs,
            start,
            width,
        )
        start += 2 * width
    unet.set_attn_processor(processors)
    for file, name in names.items():
        if file != CAMERA:
            model.images[name] = model.encode(read_image(file))
    return model


class ImagePromptAttention:
    """Cross-attention to the text, and to the image prompts of the call that runs.

    Args:
        cached: reads the text's keys and values where they are cached; None to compute them.
        inputs: of the stage.
        start: the first of this layer's values in the keys and values of an image.
        width: of its keys, and of its values, which come after them.
    """

    def __init__(
        self, cached: CachedCrossAttention | None, inputs: LayerInputs, start: int, width: int
    ) -> None:
        self._inputs, self._cached = inputs, cached
        self.start, self.width = start, width
        # A part of what engines are known by.
        self.text = None if cached is None else (cached.start, cached.width)

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any
    ) -> Tensor:
        query = attn.to_q(hidden_states)
        key, value = self._of_text(attn, encoder_hidden_states)
        states = attend(query, key, value, attn.heads)
        prompt = self._inputs.steering.image_prompt
        if prompt is not None:
            middle, end = self.start + self.width, self.start + 2 * self.width
            keys = prompt.keys_values[..., self.start : middle].to(query.dtype)
            values = prompt.keys_values[..., middle:end].to(query.dtype)
            count = len(prompt.scales)
            scales = prompt.scales.to(query.dtype)
            for i, (key, value) in enumerate(
                zip(keys.chunk(count, dim=1), values.chunk(count, dim=1), strict=True)
            ):
                states = states + scales[i] * attend(query, key, value, attn.heads)
        return project(attn, states)

    def _of_text(self, attn: Any, states: Tensor) -> tuple[Tensor, Tensor]:
        if self._cached is not None:
            return self._cached.keys_and_values(states)
        if attn.norm_cross:
            states = attn.norm_encoder_hidden_states(states)
        return attn.to_k(states), attn.to_v(states)
