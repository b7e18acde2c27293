import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from streamcam.control.addresses import Row
from streamcam.control.messages import Message
from streamcam.control.osc.packets import read_packet
from streamcam.control.oscquery import listener as module
from streamcam.control.oscquery.listener import MAX_WAITING, Listener
from streamcam.control.oscquery.method import Method

MIX = Method.of_row(Row("/mix", "both", "number", "0 – 1", "Opacity."), 1)


class Socket:
    """Takes messages only while its client reads."""

    client = SimpleNamespace(host="127.0.0.1", port=4711)

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.sent: list[Message] = []

    async def send_bytes(self, packet: bytes) -> None:
        await self.reads.wait()
        self.sent += read_packet(packet)


async def sending(values: Sequence[float], *, reads: bool) -> tuple[Socket, Listener]:
    """Let a client that does not read have `values`; let it read then, if it `reads` at all."""
    socket = Socket()
    client = Listener(socket, "127.0.0.1")  # type: ignore[arg-type]
    client.listen({"/mix": (MIX, False)}, {"/mix": values[:1]})
    task = asyncio.create_task(client.send_all())
    await asyncio.sleep(0)
    for value in values[1:]:
        client.update({"/mix": (value,)}, [])
        client.answer(Message("/error", (value,)))
        await asyncio.sleep(0)
    if reads:
        socket.reads.set()
        for _ in range(20 * len(values)):
            await asyncio.sleep(0)
        task.cancel()
    else:
        await task
    return socket, client


def test_one_that_reads_slowly_gets_the_newest_value_and_the_last_answers() -> None:
    count = 10 * MAX_WAITING
    socket, _ = asyncio.run(sending([n / count for n in range(count)], reads=True))
    mixes = [message.arguments[0] for message in socket.sent if message.address == "/mix"]
    assert mixes == [0.0, pytest.approx((count - 1) / count)]
    assert sum(message.address == "/error" for message in socket.sent) == MAX_WAITING


def test_one_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALLED_S", 0.01)
    with pytest.raises(TimeoutError):
        asyncio.run(sending([0.0, 0.5], reads=False))


def test_one_that_does_not_read_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STUCK_S", -1)

    async def stuck() -> None:
        client = Listener(Socket(), "127.0.0.1")  # type: ignore[arg-type]
        assert not client.is_stuck()
        client.answer(Message("/error", ("x",)))
        task = asyncio.create_task(client.send_all())
        await asyncio.sleep(0)
        assert client.is_stuck()
        client.stop()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stuck())


def test_a_value_that_the_client_moves_is_sent_back_only_after_a_while() -> None:
    async def moving() -> list[Message]:
        socket = Socket()
        socket.reads.set()
        client = Listener(socket, "127.0.0.1")  # type: ignore[arg-type]
        task = asyncio.create_task(client.send_all())
        client.moved(["/mix"], now=10.0)
        client.listen({"/mix": (MIX, False)}, {"/mix": (0.25,)})
        for now, expected in ((10.1, 0), (10.4, 1)):
            client.end_holds(now)
            for _ in range(5):
                await asyncio.sleep(0)
            assert len(socket.sent) == expected
        task.cancel()
        return socket.sent

    assert asyncio.run(moving()) == [Message("/mix", (0.25,))]
