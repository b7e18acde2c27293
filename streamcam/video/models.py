"""A video checkpoint as its stages: its variety ends here."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from streamcam.config import Config
from streamcam.diffusion.devices import pick_device, pick_dtype
from streamcam.diffusion.family import Say
from streamcam.errors import ConfigError
from streamcam.video.checkpoint import Parts, load_parts, load_transformer
from streamcam.video.layers import Layers
from streamcam.video.ranks import Followers, Share, device_of
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
    share = Share(0, config.video.devices)
    device, dtype = _place(config, share)
    followers = Followers(config) if share.ranks > 1 else None
    parts = load_parts(config, dtype, device, say, share.layers)
    layers = _layers(parts.transformer, config, share, device)
    how = "compiled" if config.acceleration == "compiled" else "eager"
    how += f", over {share.ranks} devices" if followers else ""
    say(f"on {device} as {str(dtype).removeprefix('torch.')}, {how}")
    normalised = config.video.normalised_latents
    return Models(
        followers.meet(layers, config) if followers else Layers(layers),
        _encoder(parts, config),
        _decoder(parts, config),
        parts.encode_text,
        (lambda latents: latents) if normalised else Normalisation(parts.vae).to,
        device,
    )


def load_layers(config: Config, share: Share) -> CausalWan:
    """Return the layers of a rank after the first, on its device.

    Raises:
        StreamcamError: as `load_models`.
    """
    device, dtype = _place(config, share)
    return _layers(load_transformer(config, dtype, device, share.layers), config, share, device)


def _place(config: Config, share: Share) -> tuple[torch.device, torch.dtype]:
    if config.threads:
        torch.set_num_threads(config.threads)
    device = device_of(pick_device(config.device), share)
    return device, _dtype(config.dtype, device)


def _layers(transformer: Any, config: Config, share: Share, device: torch.device) -> CausalWan:
    size = (config.height // SPATIAL, config.width // SPATIAL)
    layers = CausalWan(transformer, size, first=share.first, last=share.last).to(device)
    if config.acceleration == "compiled":
        rows = config.num_steps if config.use_denoising_batch else 1
        layers.speed_up(rows, lambda layer: torch.compile(layer, dynamic=False))
    return layers


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
