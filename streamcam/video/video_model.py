"""A video checkpoint as its stages: its variety ends here."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from streamcam.engines.placement import pick_device, pick_dtype
from streamcam.errors import ConfigError
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.video.causal_layers import Layers
from streamcam.video.parallel.launcher import start_other_ranks
from streamcam.video.parallel.partition import Partition
from streamcam.video.parallel.ranks import LoadedLayers, RankInfo, rank_device, rank_info
from streamcam.video.taehv import TinyDecoder, TinyEncoder
from streamcam.video.wan import CausalWan
from streamcam.video.wan_checkpoint import Parts, load_parts, load_transformer
from streamcam.video.wan_vae import (
    SPATIAL,
    Decoder,
    Encoder,
    Normalisation,
    WanDecoder,
    WanEncoder,
)

HOW = ("auto", "eager", "compiled")
MOST_COMPILED = 64


class VideoModel(NamedTuple):
    """The stages of one checkpoint."""

    layers: Layers
    encode: Encoder
    decode: Decoder
    encode_text: Callable[[str], Tensor]
    """To ``(1, L, text_dim)``, zero past the text."""
    normalise: Callable[[Tensor], Tensor]
    """Takes the transformer's latents to unit variance."""
    device: torch.device


def load_video_model(config: Config, report: Report = print, *, live: bool = False) -> VideoModel:
    """Load what `config` names and put it on its device, or its share where there are several.

    Args:
        config: what to load.
        report: takes a line of progress at a time.
        live: whether the number of steps, and so of rows, may change.

    Raises:
        ConfigError: the device is not there, or cannot be used as asked.
        ModelError: something is missing, damaged or does not fit.
        EngineError: another device cannot do its share.
    """
    if config.acceleration not in HOW:
        raise ConfigError(
            f"pipeline=video runs {' or '.join(HOW)}, not {config.acceleration}: leave it out"
        )
    info = rank_info(config)
    device, dtype = _place(config, info)
    ranks = start_other_ranks(config, info, live=live) if info.world_size > 1 else None
    cut = Cut(info)
    parts = load_parts(config, dtype, device, report, cut)
    loaded = _loaded_layers(parts.transformer, config, info, device, cut.partition, live=live)
    how = "compiled" if config.acceleration == "compiled" else "eager"
    how += f", over {info.world_size} devices" if ranks else ""
    report(f"on {device} as {str(dtype).removeprefix('torch.')}, {how}")
    normalised = config.video.normalised_latents
    return VideoModel(
        ranks.connect_ring(loaded, config) if ranks else Layers(loaded.model),
        _encoder(parts, config),
        _decoder(parts, config),
        parts.encode_text,
        (lambda latents: latents) if normalised else Normalisation(parts.vae).to,
        device,
    )


def load_layers(config: Config, info: RankInfo, *, live: bool) -> LoadedLayers:
    """Return what a rank after the first has, on its device.

    Raises:
        StreamcamError: as `load_video_model`.
    """
    device, dtype = _place(config, info)
    cut = Cut(info)
    transformer = load_transformer(config, dtype, device, cut)
    return _loaded_layers(transformer, config, info, device, cut.partition, live=live)


class Cut:
    """Given how many layers there are, says which are a rank's; `partition` tells all ranks'."""

    def __init__(self, info: RankInfo) -> None:
        self._info = info
        self.partition: Partition = ()

    def __call__(self, count: int) -> range:
        self.partition = self._info.partition(count)
        return self.partition[self._info.rank]


def _place(config: Config, info: RankInfo) -> tuple[torch.device, torch.dtype]:
    if config.threads:
        torch.set_num_threads(config.threads)
    device = rank_device(pick_device(config.device), info)
    return device, _dtype(config.dtype, device)


def _loaded_layers(
    transformer: Any,
    config: Config,
    info: RankInfo,
    device: torch.device,
    partition: Partition,
    *,
    live: bool,
) -> LoadedLayers:
    size = (config.height // SPATIAL, config.width // SPATIAL)
    start = partition[info.rank].start
    model = CausalWan(transformer, size, start=start, first=info.first, last=info.last)
    model.to(device)
    if config.acceleration == "compiled":
        most = config.num_steps if config.use_denoising_batch else 1
        _compile(model, range(1 if live else most, most + 1))
    dtype = model.dtype

    def load(layers: range) -> list[Any]:
        return list(load_transformer(config, dtype, device, lambda _: layers).blocks)

    return LoadedLayers(model, partition, load)


def _compile(model: CausalWan, rows: range) -> None:
    # One for each number of rows and length of chunk; beyond its limit torch would go on as if
    # nothing had been compiled.
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, MOST_COMPILED)
    model.speed_up(rows, lambda layer: torch.compile(layer, dynamic=False))


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "float8":
        raise ConfigError("pipeline=video does not compute in float8: leave dtype out")
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
