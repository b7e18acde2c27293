"""Clients that flood, stall or lie lose their connection, and nobody else notices."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from streamcam.runtime.remote import connection_limit, engine_server, peer
from streamcam.runtime.remote.chunks import HEADER, chunks_of
from streamcam.runtime.remote.connection_limit import ConnectionLimit
from streamcam.runtime.remote.wire import MAX_FRAME, MAX_MESSAGE, WireFrame, compressed, frame_bytes
from tests.support.engine_servers import SERVED, TOKEN, served
from tests.support.hostile_client import HostileClient, hostile_client

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
FRAME = WireFrame(1, 1, 0.0, 1, SERVED.live.model_dump_json().encode(), compressed(IMAGE))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Yield the port of a server with two engines."""
    with served(clients=2, together=1) as port:
        yield port


@pytest.fixture(autouse=True)
def _may_connect_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limit, "CONNECTIONS", 100)


def send_frame(client: HostileClient, number: int, frame: WireFrame) -> None:
    for packet in chunks_of(number, frame_bytes(frame), parity=False):
        client.packet(packet)


def on_its_side() -> bytes:
    exif, file = PillowImage.Exif(), BytesIO()
    exif[0x0112] = 6
    PillowImage.fromarray(IMAGE).save(file, "JPEG", exif=exif)
    return file.getvalue()


def half_frames(client: HostileClient) -> None:
    for number in range(1, 60):
        client.packet(HEADER.pack(number, MAX_FRAME, 0) + b"x")


def refusal(port: int, act: Callable[[HostileClient], object], token: str = TOKEN) -> str:
    """Return what the server says to a client that has said hello and does something."""

    async def come() -> str:
        async with hostile_client(port) as client:
            if token:
                client.hello(token)
                await client.until("welcome")
            act(client)
            await client.until("refused")
            return client.refusal

    return asyncio.run(come())


def answer(port: int, seconds: float = 10.0) -> int:
    """Return the number of messages that a client that means well gets until its engine is on."""

    async def come() -> int:
        async with hostile_client(port) as client:
            client.hello(TOKEN, client="means well")
            await client.until("engine", seconds)
            assert not client.refusal
            return len(client.messages)

    return asyncio.run(come())


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda client: client.stream(b"x", stream=4), "a stream came that nobody opens"),
        (lambda client: client.stream(b"x" * (MAX_MESSAGE + 1)), "a message is too long"),
        (
            lambda client: client.stream(b'{"kind": "got", "frame": 0}\n' * 150),
            "more than 100 messages a second came",
        ),
        (half_frames, "more than 5 frames a second came"),
        (
            lambda client: send_frame(client, 1, replace(FRAME, image=compressed(IMAGE[:32]))),
            "frames of 64x32 came, not of 64x48: start both sides again",
        ),
        (
            lambda client: send_frame(client, 1, replace(FRAME, image=on_its_side()[:-400])),
            "damaged",
        ),
        (lambda client: send_frame(client, 1, replace(FRAME, version=1 << 40)), "has no version"),
        (lambda client: client.packet(b"short"), "a part of a frame was cut off"),
    ],
)
def test_what_nobody_may_send_is_answered_with_the_reason(
    port: int,
    act: Callable[[HostileClient], object],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer, "MOST_MESSAGES", 100)
    monkeypatch.setattr(peer, "MOST_FPS", 5)
    assert why in refusal(port, act)
    assert answer(port) > 0


@pytest.mark.parametrize(
    ("hello", "why"),
    [
        ({"token": "another"}, "the token is wrong"),
        ({"token": TOKEN, "protocol": 0, "version": "9.9"}, "this is 9.9: install the same"),
    ],
)
def test_a_client_that_may_not_come_is_told_why(port: int, hello: dict[str, Any], why: str) -> None:
    assert why in refusal(port, lambda client: client.hello(**hello), token="")


def test_a_client_that_never_says_hello_is_told_so(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_server, "HELLO_S", 0.7)
    assert refusal(port, lambda _: None, token="") == "no hello came in 0.7 s"


def test_a_part_of_a_frame_without_hello_ends_the_connection(port: int) -> None:
    assert "cut off" in refusal(port, lambda client: client.packet(b"short"), token="")


def test_a_client_that_only_asked_for_settings_may_not_stay(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_server, "HELLO_S", 0.7)

    def ask(client: HostileClient) -> None:
        client.hello(TOKEN, **{"for": "settings"})

    assert refusal(port, ask, token="") == "no hello came in 0.7 s"


def test_a_client_that_reads_and_acknowledges_nothing_loses_its_engine(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "STUCK_S", 0.3)

    async def stall() -> None:
        async with hostile_client(port) as client:
            client.hello(TOKEN)
            await client.until("welcome")
            client.stop_acknowledging()
            for number in range(1, 1000):
                send_frame(client, number, replace(FRAME, index=number))
                await asyncio.sleep(0.01)
                if client.ended:
                    return
        raise AssertionError("it still has its engine")

    asyncio.run(stall())


def test_a_frame_that_lies_on_its_side_does_not_reach_the_engine(port: int) -> None:
    async def send() -> list[str]:
        async with hostile_client(port) as client:
            client.hello(TOKEN)
            await client.until("engine")
            send_frame(client, 1, replace(FRAME, image=on_its_side()))
            await asyncio.sleep(0.2)
            return [client.refusal]

    assert asyncio.run(send()) == [""]  # Taken as it lies in the file: 64x48.


def test_an_address_may_make_a_few_connections_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limit, "CONNECTIONS", 2)
    limit = ConnectionLimit()

    def connect(host: str, now: float) -> bytes:
        who: dict[str, Any] = {"address": (host, 4000), "now": now}
        ids = {"original_destination_connection_id": b"a", "retry_source_connection_id": b"b"}
        token = limit.create_token(**{**who, **ids})
        return bytes(limit.validate_token(**who, destination_cid=b"b", token=token))

    assert [connect("10.0.0.1", 5.0), connect("10.0.0.1", 5.1)] == [b"a", b"a"]
    with pytest.raises(ValueError, match="too many"):
        connect("10.0.0.1", 5.2)
    assert connect("10.0.0.2", 5.3) == b"a"
    assert connect("10.0.0.1", 6.0) == b"a"
