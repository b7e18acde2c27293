"""Load a video model as its stages: text encoder, encoder, transformer layers and decoder."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.video.causal_layers import Layers
from streamcam.video.parallel.launcher import start_other_ranks
from streamcam.video.parallel.layer_loading import LayerSelection, causal_layers, pick_placement
from streamcam.video.parallel.ranks import rank_info
from streamcam.video.taehv import TinyDecoder, TinyEncoder
from streamcam.video.wan_checkpoint import WanComponents, load_components
from streamcam.video.wan_vae import (
    Decoder,
    Encoder,
    Normalisation,
    WanDecoder,
    WanEncoder,
)


class VideoModel(NamedTuple):
    """Stages of one video model."""

    layers: Layers
    encode: Encoder
    decode: Decoder
    encode_text: Callable[[str], Tensor]
    """To ``(1, L, text_dim)``, zero past the text."""
    normalise: Callable[[Tensor], Tensor]
    """Converts the transformer's latents to unit variance."""
    device: torch.device


def load_video_model(config: Config, report: Report = print, *, live: bool = False) -> VideoModel:
    """Load the model that `config` names onto its device, or this rank's part of it.

    Where there are several devices, the other ranks are started first and load at the same time.

    Args:
        config: what to load.
        report: takes a line of progress at a time.
        live: whether the number of steps, and so of rows, may change.

    Raises:
        ConfigError: the device is not there, or cannot be used as asked.
        ModelError: something is missing, damaged or does not fit.
        EngineError: another rank cannot load its layers.
    """
    info = rank_info(config)
    device, dtype = pick_placement(config, info)
    other_ranks = start_other_ranks(config, info, live=live) if info.world_size > 1 else None
    selection = LayerSelection(info)
    components = load_components(config, dtype, device, report, selection)
    loaded = causal_layers(
        components.transformer, config, info, device, selection.partition, live=live
    )
    engine = "compiled" if config.acceleration == "compiled" else "eager"
    engine += f", over {info.world_size} devices" if other_ranks else ""
    report(f"on {device} as {str(dtype).removeprefix('torch.')}, {engine}")
    normalised = config.video.normalised_latents
    return VideoModel(
        other_ranks.connect(loaded, config) if other_ranks else Layers(loaded.model),
        _encoder(components, config),
        _decoder(components, config),
        components.encode_text,
        (lambda latents: latents) if normalised else Normalisation(components.vae).normalise,
        device,
    )


def _encoder(components: WanComponents, config: Config) -> Encoder:
    normalised = config.video.normalised_latents
    if config.video.video_encoder == "wan":
        return WanEncoder(components.vae, normalised=normalised)
    assert components.taehv is not None
    return TinyEncoder(components.taehv, None if normalised else Normalisation(components.vae))


def _decoder(components: WanComponents, config: Config) -> Decoder:
    if config.video.video_decoder == "wan":
        return WanDecoder(components.vae)
    assert components.taehv is not None
    return TinyDecoder(components.taehv)
