"""The ranks of a pipeline: which of how many this is, and how they meet once they have loaded.

They meet in a store that all of them reach: each says there that it is ready, or why not.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store

from streamcam.errors import ConfigError, EngineError, StreamcamError, one_line
from streamcam.settings.config import Config
from streamcam.settings.video_settings import launched
from streamcam.video.parallel.layer_ring import LayerRing, max_payload_bytes, serve_calls
from streamcam.video.parallel.migration import LoadLayers
from streamcam.video.parallel.partition import BlockScheduler, Partition, even
from streamcam.video.parallel.transport import RingTransport
from streamcam.video.wan import CausalWan

LOAD_TIMEOUT_S = 1800.0
"""For a rank to load its layers."""
RENDEZVOUS_TIMEOUT_S = 30.0
"""For all ranks to meet, once they have."""
POLL_S = 0.02
READY = "ready"


class RankInfo(NamedTuple):
    """Which of how many ranks this is."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Which of those on this machine."""

    started_here: bool = True
    """Whether the first rank starts the others; else torchrun has."""

    def partition(self, count: int) -> Partition:
        """Return which of `count` layers each rank begins with.

        Raises:
            ConfigError: there are more ranks than layers.
        """
        return even(count, self.world_size)

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def last(self) -> bool:
        return self.rank == self.world_size - 1


def rank_info(config: Config) -> RankInfo:
    """Return the part of the process that runs the stream, or that torchrun started.

    Raises:
        ConfigError: torchrun started another number of processes than `devices` says.
    """
    devices = config.video.devices
    if (launch := launched()) is None:
        return RankInfo(0, devices)
    if devices not in (1, launch.ranks):
        raise ConfigError(
            f"torchrun has started {launch.ranks} processes, but devices={devices}: leave it out"
        )
    return RankInfo(*launch, started_here=False)


def rank_device(device: torch.device, info: RankInfo) -> torch.device:
    """Return the device of a rank: the next one of its kind for each; processors are shared.

    Raises:
        ConfigError: there are too few.
    """
    if device.type == "cpu" or info.world_size == 1:
        return device
    found = torch.cuda.device_count() if device.type == "cuda" else 1
    index = (device.index or 0) + info.local_rank
    if index >= found:
        raise ConfigError(
            f"rank {info.rank} of {info.world_size} needs {device.type}:{index}, but there are {found}"
            " here: share the layers among fewer devices"
        )
    return torch.device(device.type, index)


class LoadedLayers(NamedTuple):
    """What a rank has of the model."""

    model: CausalWan
    partition: Partition
    """Which layers each rank has at first."""
    load: LoadLayers


def connect_ring(
    loaded: LoadedLayers, config: Config, info: RankInfo, store: Store, lost: Callable[[int], bool]
) -> LayerRing:
    """Wait until all ranks have loaded their layers, and return the ring of them.

    Args:
        own: what the first rank, this one, has.
        config: as all of them have it.
        share: of this rank.
        store: where they meet.
        lost: tells whether a rank is known to have died.

    Raises:
        EngineError: one of them cannot, and why.
    """
    for rank in range(1, info.world_size):
        if (said := _wait_for(store, rank, lost)) != READY:
            raise EngineError(f"device {rank} of the pipeline failed: {said}")
    transport = _open_transport(loaded.model, config, info, store)
    return LayerRing(loaded.model, transport, loaded.load, BlockScheduler(loaded.partition))


def _wait_for(store: Store, rank: int, lost: Callable[[int], bool]) -> str:
    end = time.monotonic() + LOAD_TIMEOUT_S
    while not store.check([_key(rank)]):
        if lost(rank) and not store.check([_key(rank)]):
            return "it has died"
        if time.monotonic() > end:
            return f"it has not loaded its layers in {LOAD_TIMEOUT_S:.0f} s"
        time.sleep(POLL_S)
    said: str = store.get(_key(rank)).decode()
    return said


def serve_rank(config: Config, info: RankInfo, store: Store, *, live: bool) -> None:
    """Be a rank after the first: load its layers, then follow until the first says stop.

    Raises:
        StreamcamError: they cannot be loaded, or the ring has broken.
    """
    from streamcam.video.video_model import load_layers

    try:
        loaded = load_layers(config, info, live=live)
    except StreamcamError as error:
        store.set(_key(info.rank), str(error))
        raise
    store.set(_key(info.rank), READY)
    serve_calls(loaded.model, _open_transport(loaded.model, config, info, store), loaded.load)


def report_lost(store: Store, rank: int) -> None:
    """Say that a rank will not come."""
    store.set(_key(rank), "it has died")


def _key(rank: int) -> str:
    return f"rank/{rank}"


def _open_transport(
    model: CausalWan, config: Config, info: RankInfo, store: Store
) -> RingTransport:
    """Meet the other ranks, and return this one's ends of the ring.

    Raises:
        EngineError: one of them has gone since it was ready.
    """
    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(model.device)
    video = config.video
    # A new prompt sends all that a row of the cache holds in one call.
    frames = max(video.kv_frames, video.chunk_latents, video.max_chunk_latents)
    text_dim = model.transformer.config.text_dim
    payload = max_payload_bytes(model, config.num_steps, frames, text_dim)
    try:
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=store,
            rank=info.rank,
            world_size=info.world_size,
            timeout=timedelta(seconds=RENDEZVOUS_TIMEOUT_S),
        )
        if on_gpu:
            dist.barrier(device_ids=[model.device.index])
        return RingTransport(model.device, payload)
    except RuntimeError as error:
        raise EngineError(
            f"the {info.world_size} devices of the pipeline have not met in {RENDEZVOUS_TIMEOUT_S:.0f} s:"
            f" {one_line(error)}"
        ) from error
