import asyncio
import socket
from pathlib import Path

import pytest
from aioquic.quic.connection import QuicConnection

from streamcam.runtime.remote.peer import RECEIVE_BUFFER, Peer, configuration

LIMIT = Path("/proc/sys/net/core/rmem_max")


@pytest.mark.skipif(not LIMIT.exists(), reason="the limit is Linux's")
def test_a_socket_has_room_for_as_many_frames_as_the_system_allows() -> None:
    async def room() -> int:
        loop = asyncio.get_running_loop()
        quic = QuicConnection(configuration=configuration(is_client=True, idle_s=1.0))
        transport, _ = await loop.create_datagram_endpoint(
            lambda: Peer(quic), local_addr=("127.0.0.1", 0)
        )
        try:
            opened = transport.get_extra_info("socket")
            return int(opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
        finally:
            transport.close()

    # Linux counts twice what is asked for, for its own records.
    assert asyncio.run(room()) == 2 * min(RECEIVE_BUFFER, int(LIMIT.read_text()))
