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
from streamcam.video.parallel.ranks import LOOK_S, MEET_S, Own, Share, attend, give_up, meet

log = logging.getLogger(__name__)

MAIN = "streamcam.video.parallel.launcher:serve"
LEAVE_S = 5.0
AGAIN_S = 1.0
"""Between two lives of a rank."""
Orders = dict[str, Any]
ROUND, OVER = "streamcam/round", "streamcam/over"
"""Keys in torchrun's store: how often a first rank has begun, and that it is not to again."""


class Others(Protocol):
    """The ranks after the first."""

    def meet(self, own: Own, config: Config) -> LayerRing:
        """Wait until all have loaded their layers, and return the ring of them.

        Raises:
            EngineError: one of them cannot, and why.
        """


def others(config: Config, share: Share, *, live: bool) -> Others:
    """Return the other ranks, which from now on load their layers."""
    return Followers(config, share, live=live) if share.started_here else Launched(share)


class Followers:
    """Processes for the ranks after the first, which end when this one does, however it ends."""

    def __init__(self, config: Config, share: Share, *, live: bool) -> None:
        self._share = share
        self._folder = tempfile.TemporaryDirectory(prefix="streamcam-ranks-")
        meeting = str(Path(self._folder.name) / "meeting")
        self._store = FileStore(meeting, share.ranks)
        self._processes = [
            _started(config, Share(rank, share.ranks, rank), meeting=meeting, live=live)
            for rank in range(1, share.ranks)
        ]

    def meet(self, own: Own, config: Config) -> LayerRing:
        """Wait until all have loaded their layers, and return the ring of them."""
        ring = meet(
            own,
            config,
            self._share,
            self._store,
            lambda rank: self._processes[rank - 1].poll() is not None,
        )
        atexit.register(self._leave, ring)
        return ring

    def _leave(self, ring: LayerRing) -> None:
        """Let the others end, by themselves or by force."""
        with suppress(EngineError):  # Where it is broken, there is nobody to tell.
            ring.stop()
        for process in self._processes:
            try:
                process.wait(LEAVE_S)
            except subprocess.TimeoutExpired:
                process.kill()
        dist.destroy_process_group()
        self._folder.cleanup()


class Launched:
    """The ranks that torchrun started beside this one; they wait for others until `dismiss`.

    An engine on air that ends is followed by another, to which they come again.
    """

    def __init__(self, share: Share) -> None:
        self._share = share
        self._store = _torchrun_store()
        self._round = PrefixStore(str(self._store.add(ROUND, 1)), self._store)

    def meet(self, own: Own, config: Config) -> LayerRing:
        """Wait until all have loaded their layers, and return the ring of them."""
        ring = meet(own, config, self._share, self._round, lambda _: False)
        atexit.register(dist.destroy_process_group)
        return ring


def dismiss() -> None:
    """Tell the ranks that torchrun started that no first rank will come any more."""
    with suppress(EngineError, RuntimeError):  # The store may have gone with the engine.
        _torchrun_store().set(OVER, "")


def follow_launched(config: Config, share: Share, *, live: bool) -> None:
    """Be a rank after the first for as long as there is a first one, as torchrun started this.

    Args:
        config: as the first rank has it.
        share: of this rank.
        live: whether a first rank that is lost comes again, as an engine on air does.

    Raises:
        EngineError: it was lost, and does not.
    """
    while True:
        process = _started(config, share, meeting="", live=live)
        try:
            status = process.wait()
        finally:
            process.kill()
        if status == 0:
            return
        if not live:
            raise EngineError(f"rank {share.rank} of the pipeline has ended with status {status}")
        log.warning("rank %d of the pipeline has ended; starting it again", share.rank)
        time.sleep(AGAIN_S)


def _started(config: Config, share: Share, **how: Any) -> "subprocess.Popen[str]":
    """Start a process that serves as a rank; it ends when this one is gone."""
    orders = {"share": share, "config": config.model_dump(mode="json")} | how
    # Ctrl-C is for the first rank, which ends the others.
    return start_child(
        MAIN, json.dumps(orders), stdout=subprocess.DEVNULL, stderr=None, new_session=True
    )


def serve() -> None:
    """Be one of the ranks after the first, as a line of standard input says; never returns."""
    orders = json.loads(sys.stdin.readline())
    end_with_parent(sys.stdin.read, status=1)
    share = Share(*orders["share"])
    config = Config.model_validate(orders["config"])
    serve_as = _serve_started if orders["meeting"] else _serve_launched
    try:
        serve_as(config, share, orders)
    except StreamcamError as error:
        os._exit(error.exit_code)  # The first rank has heard, and says it.
    os._exit(0)  # Offers of memory that nothing came into would hold up a usual end.


def _serve_started(config: Config, share: Share, orders: Orders) -> None:
    store = FileStore(orders["meeting"], share.ranks)
    attend(config, share, store, live=orders["live"])


def _serve_launched(config: Config, share: Share, orders: Orders) -> None:
    store = _torchrun_store()
    try:
        if meeting := _next_round(store, share.rank):
            attend(config, share, meeting, live=orders["live"])
    except StreamcamError as error:
        if not store.check([OVER]):
            print(f"streamcam: rank {share.rank}: {error}", file=sys.stderr, flush=True)
            raise


def _torchrun_store() -> Store:
    """Return the store that torchrun tells all its processes of.

    Raises:
        EngineError: it does not answer.
    """
    try:
        met: Any = rendezvous("env://", timeout=timedelta(seconds=MEET_S))
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
                give_up(meeting, rank)  # Whoever claimed it before is no more.
        time.sleep(LOOK_S)
    return None
