"""Rings of processes under gloo, each with some layers of a small model."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from streamcam.video.distributed import Link, Ring, follow, payload_bytes
from streamcam.video.wan import CausalWan

Build = Callable[[range, bool, bool], CausalWan]
Lead = Callable[[Ring], Any]


def ring(build: Build, cuts: list[int], lead: Lead, folder: Path, *, dies: int = -1) -> Any:
    """Return what `lead` returns on the first of ``len(cuts) - 1`` ranks.

    Args:
        build: makes a rank's layers, told whether they are the first and the last ones.
        cuts: where the ranks' layers begin, and the end.
        lead: runs on the first rank.
        folder: for the ranks to meet in.
        dies: a rank that ends with its first message.
    """
    mp.spawn(_rank, (build, cuts, lead, str(folder), dies), nprocs=len(cuts) - 1)
    return torch.load(folder / "made.pt", weights_only=False)


def _rank(rank: int, build: Build, cuts: list[int], lead: Lead, folder: str, dies: int) -> None:
    torch.set_num_threads(1)
    ranks = len(cuts) - 1
    meeting = f"file://{folder}/meeting"
    dist.init_process_group(
        "gloo", meeting, rank=rank, world_size=ranks, timeout=timedelta(seconds=200)
    )
    model = build(range(cuts[rank], cuts[rank + 1]), rank == 0, rank == ranks - 1)
    link = Link(torch.device("cpu"), payload_bytes(model, rows=3, frames=8, text_dim=32))
    if rank == 0:
        with torch.inference_mode():
            made = lead(Ring(model, link))
        torch.save(made, Path(folder) / "made.pt")
    elif rank == dies:
        link.take()
    else:
        follow(model, link)
    os._exit(0)  # Offers of memory that nothing came into would hold up a usual end.
