"""The store that torchrun gives its processes, and the rounds in which ranks meet there.

An engine on air that dies is followed by another: each begins a round, which the other ranks join.
"""

import os
import time
from datetime import timedelta
from typing import Any

from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from streamcam.errors import EngineError
from streamcam.video.parallel.rendezvous import (
    LOST,
    POLL_S,
    RENDEZVOUS_TIMEOUT_S,
    report_status,
)

ROUND, OVER = "streamcam/round", "streamcam/over"
"""Keys in the store: how often a first rank has begun, and that none will begin again."""


def torchrun_store() -> Store:
    """Return the store that all of torchrun's processes share.

    Raises:
        EngineError: it does not answer.
    """
    try:
        handler: Any = rendezvous("env://", timeout=timedelta(seconds=RENDEZVOUS_TIMEOUT_S))
        store: Store = next(handler)[0]
    except (RuntimeError, ValueError) as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise EngineError(f"the ranks cannot meet at {address}: {error}") from error
    return store


def begin_round(store: Store) -> Store:
    """Begin a round as the first rank, and return the store of that round."""
    return PrefixStore(str(store.add(ROUND, 1)), store)


def join_round(store: Store, rank: int) -> Store | None:
    """Wait for a round that `rank` has not joined yet; return its store, or None after the last."""
    while not is_over(store):
        if (newest := store.add(ROUND, 0)) > 0:
            round_store = PrefixStore(str(newest), store)
            if (claims := round_store.add(f"claims/{rank}", 1)) == 1:
                return round_store
            if claims == 2:
                report_status(round_store, rank, LOST)  # The process that claimed it is dead.
        time.sleep(POLL_S)
    return None


def end_rounds(store: Store) -> None:
    """Announce that no first rank will begin again."""
    store.set(OVER, "")


def is_over(store: Store) -> bool:
    """Return whether no first rank will begin again."""
    over: bool = store.check([OVER])
    return over
