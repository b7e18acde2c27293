"""Rendezvous of the ranks in a shared store, once each has loaded its layers.

Each rank reports in the store that it is ready, or why not; then all of them open the ring.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import Store

from streamcam.errors import EngineError, one_line
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.video.parallel.layer_loading import LoadedLayers
from streamcam.video.parallel.layer_ring import LayerRing, max_payload_bytes
from streamcam.video.parallel.partition import BlockScheduler
from streamcam.video.parallel.ranks import RankInfo
from streamcam.video.parallel.transport import RingTransport
from streamcam.video.wan import CausalWan

LOAD_TIMEOUT_S = 1800.0
"""For a rank to load its layers."""
RENDEZVOUS_TIMEOUT_S = 30.0
"""For all ranks to connect, once they have loaded."""
POLL_S = 0.02
LONG_S = 3.0
"""Seconds of waiting for a rank that are worth a line."""
READY, LOST = "ready", "it has died"


def connect_ring(
    loaded: LoadedLayers,
    config: Config,
    info: RankInfo,
    store: Store,
    is_dead: Callable[[int], bool],
    report: Report = lambda _: None,
) -> LayerRing:
    """Wait until all ranks have loaded their layers, and return the ring of them.

    Args:
        loaded: layers of the first rank, this one.
        config: the same on all ranks.
        info: this rank.
        store: where they meet.
        is_dead: returns True for a rank that is known to have died.
        report: takes a line for each rank that lets the others wait.

    Raises:
        EngineError: one of them cannot, and why.
    """
    for rank in range(1, info.world_size):
        if (status := _wait_for_status(store, rank, is_dead, report)) != READY:
            raise EngineError(f"device {rank} of the pipeline failed: {status}")
    transport = open_transport(loaded.model, config, info, store)
    return LayerRing(loaded.model, transport, loaded.load, BlockScheduler(loaded.partition))


def report_status(store: Store, rank: int, status: str) -> None:
    """Report to the first rank that `rank` is `READY`, `LOST`, or the reason why it failed."""
    with store_errors():
        store.set(_key(rank), status)


@contextmanager
def store_errors() -> Iterator[None]:
    """Raise EngineError, in one line, where the store is gone."""
    try:
        yield
    except RuntimeError as error:
        raise EngineError(f"the first rank's machine does not answer: {one_line(error)}") from error


def _wait_for_status(
    store: Store, rank: int, is_dead: Callable[[int], bool], report: Report
) -> str:
    began, reported = time.monotonic(), False
    while not store.check([_key(rank)]):
        waited_s = time.monotonic() - began
        if is_dead(rank) and not store.check([_key(rank)]):
            return LOST
        if waited_s > LONG_S and not reported:
            report(f"waiting for device {rank} of the pipeline")
            reported = True
        if waited_s > LOAD_TIMEOUT_S:
            return f"it has not loaded its layers in {LOAD_TIMEOUT_S:.0f} s"
        time.sleep(POLL_S)
    status: str = store.get(_key(rank)).decode()
    return status


def _key(rank: int) -> str:
    return f"rank/{rank}"


def open_transport(model: CausalWan, config: Config, info: RankInfo, store: Store) -> RingTransport:
    """Join torch's process group, and return this rank's transport in the ring.

    Raises:
        EngineError: another rank has died since it was ready.
    """
    on_gpu = model.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(model.device)
    video = config.video
    # A new prompt sends all that a row of the cache holds in one call.
    frames = max(video.kv_frames, video.chunk_latents, video.max_chunk_latents)
    text_dim = model.transformer.config.text_dim
    payload_bytes = max_payload_bytes(model, config.num_steps, frames, text_dim)
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
        return RingTransport(model.device, payload_bytes)
    except RuntimeError as error:
        raise EngineError(
            f"the {info.world_size} devices of the pipeline have not met in"
            f" {RENDEZVOUS_TIMEOUT_S:.0f} s: {one_line(error)}"
        ) from error
