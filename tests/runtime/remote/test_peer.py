"""One end of a connection, and what it does while the network has no room."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aioquic.quic.connection import QuicConnection

from streamcam.runtime.remote import peer
from streamcam.runtime.remote.peer import RECEIVE_BUFFER, Peer, configuration

LIMIT = Path("/proc/sys/net/core/rmem_max")


class Listener:
    def __init__(self) -> None:
        self.ends: list[str] = []

    def on_message(self, message: dict[str, Any]) -> None: ...

    def on_frame(self, data: bytes) -> None: ...

    def on_end(self, reason: str) -> None:
        self.ends.append(reason)


@asynccontextmanager
async def connecting() -> AsyncIterator[tuple[Peer, asyncio.DatagramTransport]]:
    """Yield a client whose server does not answer, so that QUIC keeps what is sent."""
    end = Peer(QuicConnection(configuration=configuration(is_client=True, idle_s=5.0)))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: end, local_addr=("127.0.0.1", 0)
    )
    try:
        yield end, transport
    finally:
        transport.close()


@pytest.mark.skipif(not LIMIT.exists(), reason="the limit is Linux's")
def test_a_socket_has_room_for_as_many_frames_as_the_system_allows() -> None:
    async def room() -> int:
        async with connecting() as (_, transport):
            opened = transport.get_extra_info("socket")
            return int(opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))

    # Linux counts twice what is asked for, for its own records.
    assert asyncio.run(room()) == 2 * min(RECEIVE_BUFFER, int(LIMIT.read_text()))


def test_another_frame_waits_until_the_network_has_taken_the_last_one() -> None:
    async def send() -> list[bool]:
        async with connecting() as (end, _):
            before = end.wait_for_room(0)
            end.connect(("127.0.0.1", 9))
            end.send_frame(b"frame")
            return [before, end.wait_for_room(0)]

    assert asyncio.run(send()) == [True, False]


def test_a_connection_that_takes_nothing_for_long_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer, "STUCK_S", 0.01)

    async def send() -> list[str]:
        async with connecting() as (end, _):
            end.listener = listener = Listener()
            end.connect(("127.0.0.1", 9))
            end.send_frame(b"frame")
            await asyncio.sleep(0.02)
            end.send_once("beat")
            return listener.ends

    assert asyncio.run(send()) == ["nothing that was sent arrived for 0 s"]
