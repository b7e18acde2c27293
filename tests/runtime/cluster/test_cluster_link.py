"""A stream that moves from engine to engine: real servers, with a pool that names them."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from streamcam.errors import EngineError
from streamcam.runtime.cluster import cluster_link
from streamcam.runtime.cluster.cluster_link import ClusterLink
from streamcam.runtime.engine_message import EngineMessage
from streamcam.runtime.engine_worker import IDENTITY
from streamcam.runtime.frame_ring import FrameRing
from streamcam.runtime.remote import engine_server
from streamcam.runtime.remote.engine_connection import Hello
from streamcam.runtime.remote.engine_server import EngineServer
from streamcam.runtime.remote.engine_slot import EngineSlot
from streamcam.settings.config_layers import build_config

TOKEN = "the-token-of-the-tests"
SIZE = {"model": IDENTITY, "width": 64, "height": 48}
Place = dict[str, str]


class ReadyHost:
    """Stands for the engine process of a host: ready at once, and it runs nothing."""

    def __init__(self, _config: Any, _name: str, slots: int) -> None:
        self.slots = [EngineSlot(build_config([SIZE])) for _ in range(slots)]
        self.has_started = False

    def start(self) -> None:
        self.has_started = True
        for slot in self.slots:
            slot.begin()
            slot.take(EngineMessage("ready"))

    def stop(self) -> None: ...

    def check_soon(self) -> None: ...


@asynccontextmanager
async def served(node: str, standbys: Sequence[Place] = (), room: int = 1) -> AsyncIterator[Place]:
    """Yield the place of a server that names `standbys` to its clients."""
    server = EngineServer(build_config([SIZE]), TOKEN, room)
    server.standbys = list(standbys)
    ready: asyncio.Queue[int] = asyncio.Queue()
    task = asyncio.create_task(server.run("127.0.0.1", 0, ready.put_nowait))
    try:
        yield {"engine": f"127.0.0.1:{await ready.get()}", "token": TOKEN, "node": node}
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@contextmanager
def link(
    monkeypatch: pytest.MonkeyPatch,
    answers: list[Any],
    asked: list[Any],
    messages: list[EngineMessage],
) -> Iterator[ClusterLink]:
    """Yield a link whose pool gives these `answers`, one after the other."""

    def ask(_address: str, _call: str, *arguments: Any) -> Any:
        asked.append(arguments)
        return answers.pop(0)

    monkeypatch.setattr(cluster_link, "ask_pool", ask)
    monkeypatch.setattr(cluster_link, "SILENT_S", 0.5)
    config = build_config([{**SIZE, "engine": "ray://head"}])
    rings = [FrameRing((48, 64, 3)) for _ in range(2)]
    try:
        yield ClusterLink(config, *rings, messages.append)
    finally:
        for ring in rings:
            ring.close(unlink=True)


async def until_ready_twice(made: ClusterLink, messages: list[EngineMessage]) -> None:
    task = asyncio.create_task(made.run())
    while sum(m.kind == "ready" for m in messages) < 2:
        assert not task.done(), task.result()
        await asyncio.sleep(0.01)
    made._stop()
    await asyncio.wait_for(task, 5)


def test_a_stream_goes_on_at_a_place_with_room_that_its_server_has_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine_server, "EngineHost", ReadyHost)
    monkeypatch.setattr(cluster_link, "STANDBY_S", 10.0)
    asked: list[Any] = []
    messages: list[EngineMessage] = []

    async def lose_the_first() -> None:
        async with (
            served("cc", room=0) as full,
            served("bb") as spare,
            served("aa", [full, spare]) as own,
        ):
            with link(monkeypatch, [own], asked, messages) as made:
                take = made._link.on_message

                def lose_beats(message: dict[str, Any]) -> None:
                    if made._link._engine != own["engine"] or message["kind"] != "beat":
                        take(message)  # The first one shows no sign of life.

                monkeypatch.setattr(made._link, "on_message", lose_beats)
                await asyncio.wait_for(until_ready_twice(made, messages), 30)

    asyncio.run(lose_the_first())
    assert len(asked) == 1
    moved = [m for m in messages if m.kind == "moved"]
    assert [m.exit_code for m in moved] == [0]
    assert "no answer from the engine" in moved[0].text
    assert any("all its engines are in use" in m.text for m in messages)


def test_what_the_cluster_refuses_at_the_start_is_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in ({"refused": "no such model"}, {"full": "no node has room"}):
        with link(monkeypatch, [answer], [], []) as made:
            why = next(iter(answer.values()))
            with pytest.raises(EngineError, match=why):
                asyncio.run(made.run())


def test_what_a_server_sends_right_after_its_welcome_is_kept() -> None:
    async def greet() -> list[dict[str, Any]]:
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        hello = Hello(answer, "10.0.0.2:8093")
        hello.on_message({"kind": "welcome"})
        hello.on_message({"kind": "engine", "type": "ready"})
        assert answer.result() == {"kind": "welcome"}
        return hello.early

    assert asyncio.run(greet()) == [{"kind": "engine", "type": "ready"}]
