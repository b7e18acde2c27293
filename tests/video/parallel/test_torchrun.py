"""Ranks that torchrun started meet in its store, and notice that the first one has gone."""

import os
import socket
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from torch._C._distributed_c10d import HashStore, Store, TCPStore

from streamcam.errors import EngineError
from streamcam.video.parallel import torchrun
from streamcam.video.parallel.torchrun import RoundWatch, begin_round, end_rounds, join_round


class SilentStore(HashStore):
    """A store on a machine that was unplugged: what is asked for never comes."""

    def __init__(self) -> None:
        super().__init__()
        self.plugged = threading.Event()

    def add(self, key: str, number: int) -> int:
        self.plugged.wait()
        return int(super().add(key, number))


class Ends:
    """Takes why a round has ended."""

    def __init__(self) -> None:
        self._reason = ""
        self._ended = threading.Event()

    def __call__(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._ended.set()

    def reason(self) -> str:
        assert self._ended.wait(10)
        return self._reason


def test_a_rank_notices_that_the_first_one_has_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchrun, "ASK_S", 0.01)
    store, ends = HashStore(), Ends()
    begin_round(store)
    joined = join_round(store, 1)
    assert joined
    watch = RoundWatch(lambda: store, ends)
    watch.round = joined.number
    watch.start()
    begin_round(store)
    assert ends.reason() == "the first rank has begun again"
    again = join_round(store, 1)
    assert again
    assert again.number == joined.number + 1


def test_a_rank_notices_that_the_first_ones_machine_says_nothing() -> None:
    store, ends = SilentStore(), Ends()
    RoundWatch(lambda: store, ends, silent_s=0.1).start()
    assert ends.reason() == "the first rank's machine has not answered for 0 s"
    store.plugged.set()


def test_a_rank_notices_that_the_first_ones_machine_cannot_be_reached() -> None:
    def connect() -> Store:
        raise EngineError("the ranks cannot meet at stage:29500")

    ends = Ends()
    RoundWatch(connect, ends).start()
    assert ends.reason() == "the ranks cannot meet at stage:29500"


def test_a_rank_does_not_go_on_unwatched() -> None:
    def connect() -> Store:
        raise MemoryError("no room for a connection")

    ends = Ends()
    RoundWatch(connect, ends).start()
    assert ends.reason().endswith("no room for a connection")


def test_after_the_last_round_nobody_waits_for_another() -> None:
    store = HashStore()
    begin_round(store)
    assert join_round(store, 1)
    end_rounds(store)
    assert join_round(store, 1) is None


def test_a_rank_waits_until_the_first_ones_machine_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[TCPStore] = []

    def open_store(_seconds: float) -> None:
        port = int(os.environ["MASTER_PORT"])
        stores.append(TCPStore("127.0.0.1", port, is_master=True, timeout=timedelta(seconds=5)))

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(port))
    monkeypatch.setattr(torchrun, "time", SimpleNamespace(sleep=open_store))
    assert torchrun.wait_for_store()
    assert not torchrun.wait_for_store()
    assert len(stores) == 1
