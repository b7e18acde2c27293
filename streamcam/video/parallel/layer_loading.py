"""Load the transformer layers of one rank onto its device."""

from typing import Any, NamedTuple

import torch

from streamcam.engines.compiler_cache import keep_headers
from streamcam.engines.placement import pick_device, pick_dtype
from streamcam.errors import ConfigError
from streamcam.settings.config import Config
from streamcam.video.parallel.migration import LoadLayers
from streamcam.video.parallel.partition import Partition
from streamcam.video.parallel.ranks import RankInfo, rank_device
from streamcam.video.wan import CausalWan
from streamcam.video.wan_checkpoint import load_transformer
from streamcam.video.wan_vae import SPATIAL

MAX_COMPILED_SHAPES = 64


class LoadedLayers(NamedTuple):
    """Layers of one rank, on its device."""

    model: CausalWan
    partition: Partition
    """Layers of every rank at first."""
    load: LoadLayers
    """Loads more layers, for a later partition."""


class LayerSelection:
    """Select the layers of a rank, given the number of layers that a checkpoint turns out to have.

    `partition` then holds the layers of all ranks.
    """

    def __init__(self, info: RankInfo) -> None:
        self._info = info
        self.partition: Partition = ()

    def __call__(self, count: int) -> range:
        self.partition = self._info.partition(count)
        return self.partition[self._info.rank]


def load_layers(config: Config, info: RankInfo, *, live: bool) -> LoadedLayers:
    """Load the layers of a rank after the first.

    Args:
        config: what to load.
        info: the rank.
        live: whether the number of steps, and so of rows, may change.

    Raises:
        ConfigError: the device is not there, or cannot be used as asked.
        ModelError: something is missing, damaged or does not fit.
    """
    device, dtype = pick_placement(config, info)
    selection = LayerSelection(info)
    transformer = load_transformer(config, dtype, device, selection)
    return causal_layers(transformer, config, info, device, selection.partition, live=live)


def pick_placement(config: Config, info: RankInfo) -> tuple[torch.device, torch.dtype]:
    """Return the device and dtype of a rank, and set the number of CPU threads.

    Raises:
        ConfigError: the device is not there, or lacks the dtype.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    device = rank_device(pick_device(config.device), info)
    return device, _pick_dtype(config.dtype, device)


def causal_layers(
    transformer: Any,
    config: Config,
    info: RankInfo,
    device: torch.device,
    partition: Partition,
    *,
    live: bool,
) -> LoadedLayers:
    """Return a loaded transformer as the causal layers of a rank, compiled if `config` says so.

    Args:
        transformer: a `WanTransformer3DModel` with this rank's layers alone.
        config: what was loaded.
        info: the rank.
        device: of the rank.
        partition: layers of every rank.
        live: whether the number of steps, and so of rows, may change.
    """
    size = (config.height // SPATIAL, config.width // SPATIAL)
    start = partition[info.rank].start
    model = CausalWan(transformer, size, start=start, first=info.first, last=info.last)
    model.to(device)
    if config.acceleration == "compiled":
        max_rows = config.num_steps if config.use_denoising_batch else 1
        _compile(model, range(1 if live else max_rows, max_rows + 1))
    dtype = model.dtype

    def load(layers: range) -> list[Any]:
        return list(load_transformer(config, dtype, device, lambda _: layers).blocks)

    return LoadedLayers(model, partition, load)


def _compile(model: CausalWan, rows: range) -> None:
    # One for each number of rows and length of chunk; beyond its limit torch would go on as if
    # nothing had been compiled.
    keep_headers()
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, MAX_COMPILED_SHAPES)
    model.compile_layers(rows, lambda layer: torch.compile(layer, dynamic=False))


def _pick_dtype(name: str, device: torch.device) -> torch.dtype:
    if name in ("float8", "int8"):
        raise ConfigError(f"pipeline=video does not compute in {name}: leave dtype out")
    if name != "auto":
        return pick_dtype(name, device)
    # Wan was trained in bfloat16, and its activations exceed the range of float16; but CPUs are
    # slow at convolutions over time in bfloat16.
    return torch.float32 if device.type == "cpu" else torch.bfloat16
