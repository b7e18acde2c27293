"""The processes of a pipeline: those that we start for further devices, and torchrun's.

A rank after the first is always a process that can be lost: it ends when its ring breaks, and is
started anew with the engine.
"""

import atexit
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import torch.distributed as dist
from torch._C._distributed_c10d import FileStore, PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from streamcam.child_process import end_with_parent, start_child
from streamcam.errors import EngineError, StreamcamError
from streamcam.settings.config import Config
from streamcam.video.parallel.layer_ring import LayerRing
from streamcam.video.parallel.ranks import (
    POLL_S,
    RENDEZVOUS_TIMEOUT_S,
    LoadedLayers,
    RankInfo,
    connect_ring,
    report_lost,
    serve_rank,
)

log = logging.getLogger(__name__)

MAIN = "streamcam.video.parallel.launcher:serve"
EXIT_TIMEOUT_S = 5.0
RESTART_DELAY_S = 1.0
"""Between two lives of a rank."""
Request = dict[str, Any]
ROUND, OVER = "streamcam/round", "streamcam/over"
"""Keys in torchrun's store: how often a first rank has begun, and that it is not to again."""


class OtherRanks(Protocol):
    """The ranks after the first."""

    def connect_ring(self, loaded: LoadedLayers, config: Config) -> LayerRing:
        """Wait until all have loaded their layers, and return the ring of them.

        Raises:
            EngineError: one of them cannot, and why.
        """


def start_other_ranks(config: Config, info: RankInfo, *, live: bool) -> OtherRanks:
    """Return the other ranks, which from now on load their layers."""
    return LocalRanks(config, info, live=live) if info.started_here else TorchrunRanks(info)


class LocalRanks:
    """Processes for the ranks after the first, which end when this one does, however it ends."""

    def __init__(self, config: Config, info: RankInfo, *, live: bool) -> None:
        self._info = info
        self._folder = tempfile.TemporaryDirectory(prefix="streamcam-ranks-")
        meeting = str(Path(self._folder.name) / "meeting")
        self._store = FileStore(meeting, info.world_size)
        self._processes = [
            _start_rank(config, RankInfo(rank, info.world_size, rank), meeting=meeting, live=live)
            for rank in range(1, info.world_size)
        ]

    def connect_ring(self, loaded: LoadedLayers, config: Config) -> LayerRing:
        """Wait until all have loaded their layers, and return the ring of them."""
        ring = connect_ring(
            loaded,
            config,
            self._info,
            self._store,
            lambda rank: self._processes[rank - 1].poll() is not None,
        )
        atexit.register(self._shut_down, ring)
        return ring

    def _shut_down(self, ring: LayerRing) -> None:
        """Let the others end, by themselves or by force."""
        with suppress(EngineError):  # Where it is broken, there is nobody to tell.
            ring.stop()
        for process in self._processes:
            try:
                process.wait(EXIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
        dist.destroy_process_group()
        self._folder.cleanup()


class TorchrunRanks:
    """The ranks that torchrun started beside this one; they wait for others until `release_torchrun_ranks`.

    An engine on air that ends is followed by another, to which they come again.
    """

    def __init__(self, info: RankInfo) -> None:
        self._info = info
        self._store = _torchrun_store()
        self._round = PrefixStore(str(self._store.add(ROUND, 1)), self._store)

    def connect_ring(self, loaded: LoadedLayers, config: Config) -> LayerRing:
        """Wait until all have loaded their layers, and return the ring of them."""
        ring = connect_ring(loaded, config, self._info, self._round, lambda _: False)
        atexit.register(dist.destroy_process_group)
        return ring


def release_torchrun_ranks() -> None:
    """Tell the ranks that torchrun started that no first rank will come any more."""
    with suppress(EngineError, RuntimeError):  # The store may have gone with the engine.
        _torchrun_store().set(OVER, "")


def serve_torchrun_rank(config: Config, info: RankInfo, *, live: bool) -> None:
    """Be a rank after the first for as long as there is a first one, as torchrun started this.

    Args:
        config: as the first rank has it.
        share: of this rank.
        live: whether a first rank that is lost comes again, as an engine on air does.

    Raises:
        EngineError: it was lost, and does not.
    """
    while True:
        process = _start_rank(config, info, meeting="", live=live)
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


def _start_rank(config: Config, info: RankInfo, **how: Any) -> "subprocess.Popen[str]":
    """Start a process that serves as a rank; it ends when this one is gone."""
    request = {"share": info, "config": config.model_dump(mode="json")} | how
    # Ctrl-C is for the first rank, which ends the others.
    return start_child(
        MAIN, json.dumps(request), stdout=subprocess.DEVNULL, stderr=None, new_session=True
    )


def serve() -> None:
    """Be one of the ranks after the first, as a line of standard input says; never returns."""
    request = json.loads(sys.stdin.readline())
    end_with_parent(sys.stdin.read, status=1)
    info = RankInfo(*request["share"])
    config = Config.model_validate(request["config"])
    serve_as = _serve_local if request["meeting"] else _serve_torchrun
    try:
        serve_as(config, info, request)
    except StreamcamError as error:
        os._exit(error.exit_code)  # The first rank has heard, and says it.
    os._exit(0)  # Offers of memory that nothing came into would hold up a usual end.


def _serve_local(config: Config, info: RankInfo, request: Request) -> None:
    store = FileStore(request["meeting"], info.world_size)
    serve_rank(config, info, store, live=request["live"])


def _serve_torchrun(config: Config, info: RankInfo, request: Request) -> None:
    store = _torchrun_store()
    try:
        if meeting := _next_round(store, info.rank):
            serve_rank(config, info, meeting, live=request["live"])
    except StreamcamError as error:
        if not store.check([OVER]):
            print(f"streamcam: rank {info.rank}: {error}", file=sys.stderr, flush=True)
            raise


def _torchrun_store() -> Store:
    """Return the store that torchrun tells all its processes of.

    Raises:
        EngineError: it does not answer.
    """
    try:
        met: Any = rendezvous("env://", timeout=timedelta(seconds=RENDEZVOUS_TIMEOUT_S))
        store: Store = next(met)[0]
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise EngineError(f"the ranks cannot meet at {where}: {error}") from error
    return store


def _next_round(store: Store, rank: int) -> Store | None:
    """Wait for a first rank that this one has not followed yet; None where there will be none."""
    while not store.check([OVER]):
        if (newest := store.add(ROUND, 0)) > 0:
            meeting = PrefixStore(str(newest), store)
            if (claims := meeting.add(f"claims/{rank}", 1)) == 1:
                return meeting
            if claims == 2:
                report_lost(meeting, rank)  # Whoever claimed it before is no more.
        time.sleep(POLL_S)
    return None
