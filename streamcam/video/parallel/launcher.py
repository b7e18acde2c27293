"""Launcher of the ranks after the first: as child processes, or where torchrun started them.

A rank after the first is always a process that can be lost: it ends when its ring breaks, and is
started again with the engine.
"""

import atexit
import json
import logging
import subprocess
import time
from contextlib import ExitStack, suppress
from typing import Protocol

import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from streamcam.errors import EngineError
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.system.child_process import start_child, temporary_folder
from streamcam.video.parallel.layer_loading import LoadedLayers
from streamcam.video.parallel.layer_ring import LayerRing
from streamcam.video.parallel.ranks import RankInfo
from streamcam.video.parallel.rendezvous import connect_ring
from streamcam.video.parallel.torchrun import (
    begin_round,
    end_rounds,
    torchrun_store,
    use_interface_of_store,
    wait_for_store,
)

log = logging.getLogger(__name__)

MAIN = "streamcam.video.parallel.rank_process:main"
EXIT_TIMEOUT_S = 5.0
RESTART_DELAY_S = 1.0
"""Before a rank that died is started again."""


class OtherRanks(Protocol):
    """The ranks after the first."""

    def connect(self, loaded: LoadedLayers, config: Config, report: Report) -> LayerRing:
        """Wait until all have loaded their layers, and return the ring of them.

        Args:
            loaded: layers of the first rank, this one.
            config: the same on all ranks.
            report: takes a line of progress at a time.

        Raises:
            EngineError: one of them cannot, and why.
        """


def start_other_ranks(config: Config, info: RankInfo, *, live: bool) -> OtherRanks:
    """Start the ranks after the first, which load their layers while this rank loads its own.

    Args:
        config: the same on all ranks.
        info: the first rank.
        live: whether the number of steps may change.
    """
    return TorchrunRanks(info) if info.by_torchrun else LocalRanks(config, info, live=live)


class LocalRanks:
    """Ranks that are child processes on this machine; they end when this process ends."""

    def __init__(self, config: Config, info: RankInfo, *, live: bool) -> None:
        self._info = info
        self._folder = ExitStack()
        # Gone with the process that this one belongs to, if this one is killed.
        store_path = str(self._folder.enter_context(temporary_folder()) / "store")
        self._store = FileStore(store_path, info.world_size)
        self._processes = [
            _start_rank(
                config, RankInfo(rank, info.world_size, rank), store_path=store_path, live=live
            )
            for rank in range(1, info.world_size)
        ]

    def connect(self, loaded: LoadedLayers, config: Config, report: Report) -> LayerRing:
        """Wait until all have loaded their layers, and return the ring of them."""
        ring = connect_ring(loaded, config, self._info, self._store, self._is_dead, report)
        atexit.register(self._shut_down, ring)
        return ring

    def _is_dead(self, rank: int) -> bool:
        return self._processes[rank - 1].poll() is not None

    def _shut_down(self, ring: LayerRing) -> None:
        """End the ranks, by force if need be."""
        with suppress(EngineError):  # Where the ring is broken, nobody hears it.
            ring.stop()
        for process in self._processes:
            try:
                process.wait(EXIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
        dist.destroy_process_group()
        self._folder.close()


class TorchrunRanks:
    """Ranks that torchrun started; they wait for first ranks until `release_torchrun_ranks`.

    An engine on air that ends is followed by another, whose ring they join again.
    """

    def __init__(self, info: RankInfo) -> None:
        self._info = info
        use_interface_of_store()
        self._store = torchrun_store()
        self._round_store = begin_round(self._store)

    def connect(self, loaded: LoadedLayers, config: Config, report: Report) -> LayerRing:
        """Wait until all have loaded their layers, and return the ring of them."""
        ring = connect_ring(loaded, config, self._info, self._round_store, _unknown, report)
        atexit.register(dist.destroy_process_group)
        return ring


def _unknown(_rank: int) -> bool:
    return False  # On another machine: it may come back.


def release_torchrun_ranks() -> None:
    """Let the ranks that torchrun started end, since no first rank will begin again."""
    with suppress(EngineError, RuntimeError):  # The store may have gone with the engine.
        end_rounds(torchrun_store())


def serve_torchrun_rank(config: Config, info: RankInfo, *, live: bool) -> None:
    """Serve as a rank after the first, as torchrun started this process, until there is no first.

    Args:
        config: as the first rank has it.
        info: this rank.
        live: whether a first rank that is lost is started again, as an engine on air is.

    Raises:
        EngineError: the first rank was lost, and is not started again.
    """
    while True:
        process = _start_rank(config, info, store_path="", live=live)
        try:
            status = process.wait()
        finally:
            process.kill()
        if status == 0:
            return
        if not live:
            raise EngineError(f"rank {info.rank} of the pipeline has ended with status {status}")
        log.warning("rank %d of the pipeline has ended; starting it again", info.rank)
        time.sleep(RESTART_DELAY_S)
        if wait_for_store():
            log.info("the first rank's machine can be reached again")


def _start_rank(
    config: Config, info: RankInfo, *, store_path: str, live: bool
) -> "subprocess.Popen[str]":
    """Start the process of a rank; it ends when this process ends."""
    request = {
        "rank": info,
        "config": config.model_dump(mode="json"),
        "store_path": store_path,
        "live": live,
    }
    # Ctrl-C is for the first rank, which ends the rest.
    return start_child(
        MAIN, json.dumps(request), stdout=subprocess.DEVNULL, stderr=None, new_session=True
    )
