"""A video checkpoint as its stages: its variety ends here."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.config import Config
from streamcam.diffusion.devices import pick_device, pick_dtype
from streamcam.diffusion.family import Say
from streamcam.errors import ConfigError
from streamcam.video.checkpoint import Parts, load_parts
from streamcam.video.layers import Layers
from streamcam.video.taehv import TinyDecoder, TinyEncoder
from streamcam.video.vae import SPATIAL, Decoder, Encoder, Normalisation, WanDecoder, WanEncoder
from streamcam.video.wan import CausalWan

HOW = ("auto", "eager", "compiled")


class Models(NamedTuple):
    """The stages of one checkpoint."""

    layers: Layers
    encode: Encoder
    decode: Decoder
    encode_text: Callable[[str], Tensor]
    """To ``(1, L, text_dim)``, zero past the text."""
    normalise: Callable[[Tensor], Tensor]
    """Takes the transformer's latents to unit variance."""
    device: torch.device


def load_models(config: Config, say: Say = print) -> Models:
    """Load what `config` names and put it on its device.

    Raises:
        ConfigError: the device is not there, or cannot be used as asked.
        ModelError: something is missing, damaged or does not fit.
    """
    if config.acceleration not in HOW:
        raise ConfigError(
            f"pipeline=video runs {' or '.join(HOW)}, not {config.acceleration}: leave it out"
        )
    device = pick_device(config.device)
    dtype = _dtype(config.dtype, device)
    if config.threads:
        torch.set_num_threads(config.threads)
    parts = load_parts(config, dtype, device, say)
    size = (config.height // SPATIAL, config.width // SPATIAL)
    transformer = CausalWan(parts.transformer, size).to(device)
    how = "eager"
    if config.acceleration == "compiled":
        how = "compiled"
        rows = config.num_steps if config.use_denoising_batch else 1
        transformer.speed_up(rows, lambda layer: torch.compile(layer, dynamic=False))
    say(f"on {device} as {str(dtype).removeprefix('torch.')}, {how}")
    normalised = config.video.normalised_latents
    return Models(
        Layers(transformer),
        _encoder(parts, config),
        _decoder(parts, config),
        parts.encode_text,
        (lambda latents: latents) if normalised else Normalisation(parts.vae).to,
        device,
    )


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        return pick_dtype(name, device)
    # Wan was trained in bfloat16, and its activations go beyond what float16 holds; but processors
    # are slow at convolutions over time in it.
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def _encoder(parts: Parts, config: Config) -> Encoder:
    normalised = config.video.normalised_latents
    if config.video.video_encoder == "wan":
        return WanEncoder(parts.vae, normalised=normalised)
    assert parts.taehv is not None
    return TinyEncoder(parts.taehv, None if normalised else Normalisation(parts.vae))


def _decoder(parts: Parts, config: Config) -> Decoder:
    if config.video.video_decoder == "wan":
        return WanDecoder(parts.vae)
    assert parts.taehv is not None
    return TinyDecoder(parts.taehv)
