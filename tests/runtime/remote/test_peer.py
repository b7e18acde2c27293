"""What one end of a connection does while the network has no room."""

import asyncio
from typing import Any

import pytest
from aioquic.quic.connection import QuicConnection

from streamcam.runtime.remote import peer
from streamcam.runtime.remote.peer import Peer, configuration


class Cable:
    """Takes packets to nobody."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def sendto(self, packet: bytes, _address: object) -> None:
        self.packets.append(packet)


class Listener:
    def __init__(self) -> None:
        self.ends: list[str] = []

    def on_message(self, message: dict[str, Any]) -> None: ...

    def on_frame(self, data: bytes) -> None: ...

    def on_end(self, reason: str) -> None:
        self.ends.append(reason)


def connecting_peer() -> tuple[Peer, Listener]:
    """Return a client whose server does not answer: QUIC keeps all that is sent."""
    end = Peer(QuicConnection(configuration=configuration(is_client=True, idle_s=5.0)))
    end.listener = listener = Listener()
    cable: Any = Cable()
    end.connection_made(cable)
    end.connect(("127.0.0.1", 9))
    return end, listener


def test_another_frame_waits_until_the_network_has_taken_the_last_one() -> None:
    async def send() -> list[bool]:
        end, _ = connecting_peer()
        before = end.wait_for_room(0)
        end.send_frame(b"frame")
        return [before, end.wait_for_room(0)]

    assert asyncio.run(send()) == [True, False]


def test_a_connection_that_takes_nothing_for_long_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer, "STUCK_S", 0.01)

    async def send() -> list[str]:
        end, listener = connecting_peer()
        end.send_frame(b"frame")
        await asyncio.sleep(0.02)
        end.send_once("beat")
        assert end.wait_for_room(0) is False
        return listener.ends

    assert asyncio.run(send()) == ["nothing that was sent arrived for 0 s"]
