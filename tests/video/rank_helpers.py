"""Rings of processes under gloo, each with some layers of a small model."""

import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from streamcam.video.device_timer import DeviceTimer
from streamcam.video.parallel import migration
from streamcam.video.parallel.layer_ring import LayerRing, max_payload_bytes
from streamcam.video.parallel.partition import BlockScheduler
from streamcam.video.parallel.ring_rank import serve_calls
from streamcam.video.parallel.transport import RingTransport
from streamcam.video.wan import CausalWan
from tests.support import preloaded

Build = Callable[[range, bool, bool], CausalWan]
Lead = Callable[[LayerRing], Any]
LIMIT = timedelta(seconds=200)


def ring(
    build: Build,
    cuts: list[int],
    lead: Lead,
    folder: Path,
    *,
    dies: int = -1,
    slow: dict[int, float] | None = None,
) -> Any:
    """Return what `lead` returns on the first of ``len(cuts) - 1`` ranks.

    Args:
        build: makes a rank's layers, told whether they are the first and the last ones.
        cuts: where the ranks' layers begin, and the end.
        lead: runs on the first rank.
        folder: for the ranks to meet in.
        dies: a rank that ends on its first message.
        slow: by rank, seconds that its clock counts for each of its layers. Default: measured.
    """
    arguments = (build, cuts, lead, str(folder), dies, slow or {})
    # Forked from a process that has imported everything: see tests/support/preloaded.py.
    mp.start_processes(_rank, arguments, nprocs=len(cuts) - 1, start_method=preloaded.METHOD)
    return torch.load(folder / "made.pt", weights_only=False)


def _rank(
    rank: int,
    build: Build,
    cuts: list[int],
    lead: Lead,
    folder: str,
    dies: int,
    slow: dict[int, float],
) -> None:
    torch.set_num_threads(1)
    ranks = len(cuts) - 1
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", meeting, rank=rank, world_size=ranks, timeout=LIMIT)

    def built(layers: range) -> CausalWan:
        return build(layers, rank == 0, rank == ranks - 1)

    def load(layers: range) -> list[Any]:
        return list(built(layers).transformer.blocks)

    model = built(range(cuts[rank], cuts[rank + 1]))
    if rank in slow:
        _handicap(slow[rank])
    transport = RingTransport(
        torch.device("cpu"), max_payload_bytes(model, rows=3, frames=8, text_dim=32)
    )
    if rank == 0:
        partition = tuple(range(a, b) for a, b in pairwise(cuts))
        with torch.inference_mode():
            outputs = lead(LayerRing(model, transport, load, BlockScheduler(partition, window=4)))
        torch.save(outputs, Path(folder) / "made.pt")
    elif rank == dies:
        transport.receive()
    else:
        serve_calls(model, transport, load)
    os._exit(0)  # Offers of memory that nothing came into would hold up a usual end.


def _handicap(seconds: float) -> None:
    """Add `seconds` per layer to the clock of this rank."""
    run = CausalWan.forward

    def recorded(self: CausalWan, x: Any, chunk: Any, text: Any, cache: Any, layers: range) -> Any:
        clock[0] += seconds * len(layers)
        return run(self, x, chunk, text, cache, layers)

    clock = [0.0]
    CausalWan.forward = recorded  # type: ignore[method-assign, assignment]
    migration.DeviceTimer = partial(DeviceTimer, clock=lambda: clock[0])  # type: ignore[misc, assignment]
