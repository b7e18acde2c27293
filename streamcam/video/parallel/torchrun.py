"""The store that torchrun gives its processes, and the rounds in which ranks meet there.

An engine on air that dies is followed by another: each begins a round, which the other ranks join.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from streamcam.errors import EngineError, one_line
from streamcam.system.network import endpoint, interface_to
from streamcam.system.supervised_thread import SupervisedThread
from streamcam.video.parallel.rendezvous import (
    LOST,
    POLL_S,
    RENDEZVOUS_TIMEOUT_S,
    report_status,
    store_errors,
)

ROUND, OVER = "streamcam/round", "streamcam/over"
"""Keys in the store: how often a first rank has begun, and that none will begin again."""
SILENT_S = 10.0
"""Seconds without an answer after which the first rank's machine counts as lost."""
ASK_S = 0.5
GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"


class Round(NamedTuple):
    """A ring's life, from the start of a first rank to its end."""

    number: int
    store: Store


def torchrun_store() -> Store:
    """Return the store that all of torchrun's processes share.

    Raises:
        EngineError: it does not answer.
    """
    try:
        handler: Any = rendezvous("env://", timeout=timedelta(seconds=RENDEZVOUS_TIMEOUT_S))
        store: Store = next(handler)[0]
    except (RuntimeError, ValueError) as error:
        raise EngineError(f"the ranks cannot meet at {_address()}: {one_line(error)}") from error
    return store


def wait_for_store() -> bool:
    """Wait until the machine of torchrun's store can be reached; return whether that took long.

    Trying as torch does logs a page of its own code every time.
    """
    waited = False
    while True:
        try:
            socket.create_connection(_host_and_port(), timeout=SILENT_S).close()
        except (OSError, ValueError):
            waited = True
            time.sleep(ASK_S)
        else:
            return waited


def use_interface_of_store() -> None:
    """Let gloo use the interface that leads to torchrun's store, unless the environment names one.

    It would take the address of this machine's name, which is often one that only it can reach.
    """
    host, _ = _host_and_port()
    if GLOO_INTERFACE not in os.environ and (interface := interface_to(host)):
        os.environ[GLOO_INTERFACE] = interface


def _host_and_port() -> tuple[str, int]:
    return os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT", "0"))


def _address() -> str:
    return endpoint(*_host_and_port())


def begin_round(store: Store) -> Store:
    """Begin a round as the first rank, and return the store of that round."""
    return PrefixStore(str(store.add(ROUND, 1)), store)


def join_round(store: Store, rank: int) -> Round | None:
    """Wait for a round that `rank` has not joined yet; return it, or None after the last."""
    with store_errors():
        while not is_over(store):
            if (newest := store.add(ROUND, 0)) > 0:
                round_store = PrefixStore(str(newest), store)
                if (claims := round_store.add(f"claims/{rank}", 1)) == 1:
                    return Round(newest, round_store)
                if claims == 2:
                    report_status(round_store, rank, LOST)  # The process that claimed it is dead.
            time.sleep(POLL_S)
    return None


def end_rounds(store: Store) -> None:
    """Announce that no first rank will begin again."""
    store.set(OVER, "")


def is_over(store: Store) -> bool:
    """Return whether no first rank will begin again."""
    with store_errors():
        over: bool = store.check([OVER])
    return over


class RoundWatch:
    """Notices from threads that this rank's round is over, where its connections do not show it.

    A machine that is switched off or unplugged closes no connection, and the ring itself may be
    silent for hours, since a camera may be away.

    Args:
        connect: returns a store of its own: a call that gets no answer holds up all others.
        on_end: called once or twice with the reason; also where watching itself fails.
        silent_s: seconds without an answer of the store after which it counts as lost.
    """

    def __init__(
        self,
        connect: Callable[[], Store],
        on_end: Callable[[str], object],
        silent_s: float = SILENT_S,
    ) -> None:
        self.round = 0
        """Number of the round that must not be followed by another; 0 for none so far."""
        self._connect, self._on_end, self._silent_s = connect, on_end, silent_s
        self._answered, self._ended = threading.Event(), threading.Event()

    def start(self) -> None:
        """Begin to watch; returns at once."""
        self._start("round", self._ask)

    def _start(self, name: str, loop: Callable[[], None]) -> None:
        SupervisedThread(name, loop, self._ended, on_error=self._end_with).start()

    def _end_with(self, error: BaseException) -> None:
        self._ended.set()
        self._on_end(one_line(error))

    def _ask(self) -> None:
        store = self._connect()
        self._start("silence", self._wait_for_answers)
        with store_errors():
            while store.add(ROUND, 0) == self.round or not self.round:
                self._answered.set()
                time.sleep(ASK_S)
        self._on_end("the first rank has begun again")

    def _wait_for_answers(self) -> None:
        while self._answered.wait(self._silent_s):
            self._answered.clear()
        self._on_end(f"the first rank's machine has not answered for {self._silent_s:.0f} s")
