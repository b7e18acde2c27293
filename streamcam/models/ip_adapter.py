"""IP-Adapters: an image as tokens that the cross-attentions of a U-Net read besides the text."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from streamcam.errors import ModelError
from streamcam.models import hub
from streamcam.models.ip_adapter_files import (
    ATTENTION,
    PROJECTION,
    AdapterFiles,
    AdapterShape,
    adapter_files,
)
from streamcam.models.weights import (
    check_finite,
    check_no_missing_weights,
    explain_load_errors,
    safe_tensors,
    tensor_names,
)
from streamcam.settings.config import Config
from streamcam.types import Image

GET_AGAIN = "get it again"


class CrossAttention(NamedTuple):
    """A cross-attention of a U-Net."""

    name: str
    """Of the layer in the U-Net."""
    width: int
    """Of its keys and values."""


class IpAdapter(nn.Module):
    """Turn an image into the keys and values of every cross-attention of a U-Net.

    `tokens` is the number of tokens of an image, and `width` that of a token's keys and values:
    those of each layer, in the order in which the U-Net has them.
    """

    def __init__(
        self, encoder: Any, projection: nn.Module, layers: list[tuple[Tensor, Tensor]], kind: str
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = projection
        self.layers = nn.ParameterList(part for layer in layers for part in layer)
        self.reads_hidden_states = kind != "plain"
        self.image_size = int(encoder.config.image_size)
        self._processor: Any = _processor(self.image_size)

    def pixels(self, image: Image) -> Tensor:
        """Return an image ``(H, W, 3)`` uint8 sRGB as the encoder takes it, ``(1, 3, S, S)``.

        Its shorter side is fitted, and the middle is cut out.
        """
        values: Tensor = self._processor(
            np.ascontiguousarray(image), return_tensors="pt", input_data_format="channels_last"
        ).pixel_values
        return values

    def forward(self, pixels: Tensor | None) -> Tensor:
        """Return the keys and values ``(1, tokens, width)`` for `pixels`.

        None stands for no image, as rows with the negative prompt have it.
        """
        weight = self.layers[0]
        is_image = pixels is not None
        if pixels is None:
            pixels = torch.zeros(1, 3, self.image_size, self.image_size)
        pixels = pixels.to(weight.device, self.encoder.dtype)
        if self.reads_hidden_states:
            encoded = self.encoder(pixels, output_hidden_states=True).hidden_states[-2]
        else:
            encoded = self.encoder(pixels).image_embeds
            encoded = encoded if is_image else torch.zeros_like(encoded)
        tokens = self.projection(encoded.to(weight.dtype))
        return torch.cat([nn.functional.linear(tokens, part) for part in self.layers], dim=-1)


def load_ip_adapter(config: Config, unet: Any, family: str, dtype: torch.dtype) -> IpAdapter:
    """Return the IP-Adapter that `config` names, on the CPU.

    Args:
        config: names the adapter, and its image encoder if that is not beside it.
        unet: the U-Net that it is for.
        family: of the U-Net, for messages.
        dtype: of the weights.

    Raises:
        ModelError: a file is missing or damaged, or is for another base model.
    """
    with hub.offline_mode(offline=config.offline):
        files = adapter_files(config)
    check_base(files.adapter, files.shape, cross_attentions(unet), text_width(unet), family)
    with explain_load_errors(f"IP-Adapter {files.adapter}", files.adapter, GET_AGAIN):
        tensors, _ = safe_tensors(files.adapter)
        projection = _projection(unet, tensors)
        layers = _layers(tensors)
    adapter = IpAdapter(_encoder(files, dtype), projection, layers, files.shape.kind)
    check_finite(adapter.projection, f"IP-Adapter {files.adapter}")
    check_finite(adapter.layers, f"IP-Adapter {files.adapter}")
    check_finite(adapter.encoder, f"image encoder {files.encoder}")
    return adapter.to(dtype).eval().requires_grad_(False)


def fetch_ip_adapter(config: Config) -> None:
    """Download the IP-Adapter and the image encoder that `config` names, if it names one."""
    if config.ip_adapter:
        adapter_files(config)


def cross_attentions(unet: Any) -> list[CrossAttention]:
    """Return the cross-attentions of `unet`, in the order in which adapters number them."""
    named = dict(unet.named_modules())
    names = [name.removesuffix(".processor") for name in unet.attn_processors]
    return [CrossAttention(n, named[n].inner_dim) for n in names if n.endswith(".attn2")]


def text_width(unet: Any) -> int:
    """Return how wide the tokens are that the cross-attentions of `unet` read."""
    return int(unet.config.cross_attention_dim)


def check_base(
    file: Path, shape: AdapterShape, layers: list[CrossAttention], width: int, family: str
) -> None:
    """Raise ModelError if an adapter of that shape is for another base model."""
    if shape.text_width != width or shape.layers != tuple(layer.width for layer in layers):
        raise ModelError(
            f"IP-Adapter {file} is for another base model: it has {len(shape.layers)} layers for"
            f" texts {shape.text_width} wide, this {family} model {len(layers)} for texts {width}"
            f" wide (SD 1.x has 768, SDXL 2048); choose one made for {family}"
        )


def _processor(size: int) -> Any:
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size=size, crop_size=size)


def _projection(unet: Any, tensors: dict[str, Tensor]) -> nn.Module:
    """Return the part of an adapter that makes tokens of an encoded image."""
    own = {
        name.removeprefix(PROJECTION): tensor.float()
        for name, tensor in tensors.items()
        if name.startswith(PROJECTION)
    }
    # The names in published files follow from the code that trained them; diffusers knows all.
    made: nn.Module = unet._convert_ip_adapter_image_proj_to_diffusers(own, low_cpu_mem_usage=False)
    return made


def _layers(tensors: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return the weights of the keys and of the values of each cross-attention."""
    numbers = {int(n.split(".")[1]) for n in tensors if n.startswith(ATTENTION)}
    return [
        (
            tensors[f"{ATTENTION}{number}.to_k_ip.weight"],
            tensors[f"{ATTENTION}{number}.to_v_ip.weight"],
        )
        for number in sorted(numbers)
    ]


def _encoder(files: AdapterFiles, dtype: torch.dtype) -> Any:
    from transformers import CLIPVisionModelWithProjection

    name = f"image encoder {files.encoder}"
    if not any(files.encoder.glob("*.safetensors")):
        raise ModelError(f"{name} has no .safetensors file; fetch it again")
    with explain_load_errors(name, files.encoder, GET_AGAIN):
        encoder = CLIPVisionModelWithProjection.from_pretrained(
            str(files.encoder), dtype=dtype, use_safetensors=True, local_files_only=True
        )
    check_no_missing_weights(encoder, tensor_names(files.encoder), name)
    return encoder
