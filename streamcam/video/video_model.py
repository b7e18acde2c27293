"""Load a video model as its stages: text encoder, encoder, transformer layers and decoder."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.engines.cuda_graph import CudaCapture
from streamcam.engines.device_tuning import tune
from streamcam.engines.graphed_calls import GraphedCalls
from streamcam.engines.requirements import check_engine
from streamcam.engines.selection import GRAPH, kind_of
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.video.causal_layers import Layers, MakeGraphs
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
    graphs: MakeGraphs | None
    """None where calls run plainly, as `acceleration` or the device says."""


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
    tune(device, dtype)
    other_ranks = start_other_ranks(config, info, live=live) if info.world_size > 1 else None
    selection = LayerSelection(info)
    components = load_components(config, dtype, device, report, selection)
    loaded = causal_layers(
        components.transformer, config, info, device, selection.partition, live=live
    )
    in_place = _records(config, device)
    graphs = _graph_maker(device, report) if in_place else None
    engine = "compiled" if config.acceleration == "compiled" else "graph" if in_place else "eager"
    engine += f", over {info.world_size} devices" if other_ranks else ""
    report(f"running on {device} in {str(dtype).removeprefix('torch.')}: {engine}")
    normalised = config.video.normalised_latents
    return VideoModel(
        # What goes from one device to the next cannot be recorded.
        other_ranks.connect(loaded, config, report)
        if other_ranks
        else Layers(loaded.model, graphs),
        _encoder(components, config, in_place=in_place),
        _decoder(components, config, in_place=in_place),
        components.encode_text,
        (lambda latents: latents) if normalised else Normalisation(components.vae).normalise,
        device,
        graphs,
    )


def _records(config: Config, device: torch.device) -> bool:
    """Return whether the calls of the stages are recorded as CUDA graphs.

    Raises:
        EngineError: they shall be, and cannot be on this device.
    """
    if config.acceleration == GRAPH:
        check_engine(GRAPH, kind_of(device))
    return config.acceleration != "eager" and kind_of(device) == "cuda"


def _graph_maker(device: torch.device, report: Report) -> MakeGraphs:
    capture = CudaCapture(device)
    return lambda name: GraphedCalls(capture, report, name)


def _encoder(components: WanComponents, config: Config, *, in_place: bool) -> Encoder:
    normalised = config.video.normalised_latents
    if config.video.video_encoder == "wan":
        return WanEncoder(components.vae, normalised=normalised, in_place=in_place)
    assert components.taehv is not None
    return TinyEncoder(components.taehv, None if normalised else Normalisation(components.vae))


def _decoder(components: WanComponents, config: Config, *, in_place: bool) -> Decoder:
    if config.video.video_decoder == "wan":
        return WanDecoder(components.vae, in_place=in_place)
    assert components.taehv is not None
    return TinyDecoder(components.taehv)
