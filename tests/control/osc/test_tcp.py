"""OSC over TCP, framed by lengths as in OSC 1.0 or by SLIP as in 1.1."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.control.osc import ports
from streamcam.control.osc.packets import (
    MAX_PACKET,
    Message,
    PacketError,
    PacketStream,
    read_packet,
)
from streamcam.control.osc.ports import MAX_CONNECTIONS, open_udp
from tests.control.osc.osc_desk import Switcher, message, switcher

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=200)


def counted(packet: bytes) -> bytes:
    return len(packet).to_bytes(4, "big") + packet


def slip(packet: bytes) -> bytes:
    """Return `packet` between two ENDs, as QLab sends it."""
    escaped = {0xC0: b"\xdb\xdc", 0xDB: b"\xdb\xdd"}
    return b"\xc0" + b"".join(escaped.get(b, bytes([b])) for b in packet) + b"\xc0"


Frame = Callable[[bytes], bytes]
FRAMES = pytest.mark.parametrize("frame", [counted, slip])


class Connection:
    """A TCP client that reads what it is sent."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)

    def send(self, stream: bytes) -> None:
        self.socket.sendall(stream)

    def messages(self, first: bytes) -> Iterator[Message]:
        """Yield what comes in, read as framed the way that `first` is."""
        framing = PacketStream()
        list(framing.feed(first))
        while received := self.socket.recv(4096):
            for packet in framing.feed(received):
                yield from read_packet(packet)


def ended(opened: socket.socket) -> bool:
    """Return whether the other side has closed, having read all that was sent before."""
    with suppress(ConnectionError):
        while opened.recv(4096):
            pass
    return True


@EXAMPLES
@given(
    packets=st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5),
    cuts=st.lists(st.integers(1, 7), min_size=1),
    frame=st.sampled_from([counted, slip]),
)
def test_packets_come_whole_however_the_stream_is_cut(
    packets: list[bytes], cuts: list[int], frame: Frame
) -> None:
    framing, found = PacketStream(), []
    stream = b"".join(map(frame, packets))
    while stream:
        cut = cuts[len(stream) % len(cuts)]
        found += framing.feed(stream[:cut])
        stream = stream[cut:]
    assert found == packets
    assert list(framing.feed(framing.wrap(packets[0]))) == [packets[0]]


@EXAMPLES
@given(stream=st.binary(max_size=2000))
def test_no_stream_does_worse_than_being_refused(stream: bytes) -> None:
    framing = PacketStream()
    with suppress(PacketError):
        for at in range(0, len(stream), 100):
            assert all(len(p) <= 2 * MAX_PACKET for p in framing.feed(stream[at : at + 100]))


@pytest.mark.parametrize(
    "stream",
    [b"\0\0\0\0rest", b"\0\1\0\0" * 9, b"\0\0\0\4abcd\xff\xff\xff\xff", b"\xc0" + b"a" * 20_000],
)
def test_what_is_too_large_or_empty_ends_the_stream(stream: bytes) -> None:
    with pytest.raises(PacketError):
        list(PacketStream().feed(stream))


@FRAMES
def test_messages_over_tcp_steer_and_are_answered_on_their_connection(frame: Frame) -> None:
    with switcher() as on:
        client = Connection(on.server.port)
        client.send(frame(message("/streamcam/seed", 192)) + frame(message("/streamcam/ping")))
        assert next(client.messages(frame(b"/"))).address == "/streamcam/pong"
        assert on.control.target.seed == 192
        client.socket.close()


@FRAMES
def test_a_connection_may_subscribe_and_is_told(frame: Frame) -> None:
    with switcher() as on:
        client = Connection(on.server.port)
        client.send(frame(message("/streamcam/subscribe")))
        came = client.messages(frame(b"/"))
        assert next(m for m in came if m.address == "/streamcam/seed").arguments == (2,)
        next(m for m in came if m.address == "/streamcam/preset/names")
        on.control.change({"seed": 0xC0DB})
        assert next(m for m in came if m.address == "/streamcam/seed").arguments == (0xC0DB,)
        client.socket.close()
        wait_for_subscribers(on, 0)


def test_a_connection_may_ask_to_be_told_at_a_udp_port() -> None:
    with switcher() as on:
        client = Connection(on.server.port)
        client.send(counted(message("/streamcam/subscribe", on.client.port)))
        assert on.client.wait_for("/streamcam/seed") == (2,)
        client.socket.close()
        assert on.client.wait_for("/streamcam/stat/state") == ("running",)


def wait_for_subscribers(on: Switcher, count: int) -> None:
    end = time.monotonic() + 5
    while len(on.server._subscribers) != count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_no_osc_ends_the_connection_and_nothing_else() -> None:
    with switcher() as on:
        for stream in (b"\0\0\0\0", b"\xff" * 20_000, b"GET / HTTP/1.1\r\n" * 2000):
            client = Connection(on.server.port)
            with suppress(ConnectionError):
                client.send(stream)
            assert ended(client.socket)
            assert on.after("/streamcam/seed", len(stream)).seed == len(stream)
        assert on.server.counts["malformed"] == 3


def test_a_malformed_packet_is_answered_and_the_connection_lives_on() -> None:
    with switcher() as on:
        client = Connection(on.server.port)
        client.send(counted(b"hello") + counted(message("/streamcam/seed", 5)))
        assert next(client.messages(counted(b"/"))).address == "/streamcam/error"
        on.client.settle()
        assert on.control.target.seed == 5
        client.socket.close()


def test_a_client_that_never_reads_is_let_go() -> None:
    with switcher(osc_rate=100_000) as on:
        client = Connection(on.server.port)
        on.after("/streamcam/prompt", "x" * 1000)
        assert let_go(client, counted(message("/streamcam/get", "/prompt")) * 100)
        assert on.after("/streamcam/seed", 5).seed == 5


def let_go(client: Connection, question: bytes) -> bool:
    """Ask again and again without reading an answer; return whether the other side hangs up."""
    client.socket.settimeout(0.1)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            client.socket.send(question)
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


def test_connections_are_limited_and_those_that_end_make_room() -> None:
    with switcher() as on:
        clients = [Connection(on.server.port) for _ in range(MAX_CONNECTIONS)]
        for client in clients:
            client.send(counted(message("/streamcam/ping")))
            assert next(client.messages(counted(b"/"))).address == "/streamcam/pong"
        assert ended(Connection(on.server.port).socket)
        clients[0].socket.close()
        on.client.settle()
        fresh = Connection(on.server.port)
        fresh.send(counted(message("/streamcam/ping")))
        assert next(fresh.messages(counted(b"/"))).address == "/streamcam/pong"
        for client in [*clients, fresh]:
            client.socket.close()


def test_hosts_outside_the_networks_allowed_are_let_go_at_once() -> None:
    with switcher(osc_allow="10.0.0.0/8") as on:
        assert ended(Connection(on.server.port).socket)
        assert on.server.counts["not allowed"] == 1


def test_a_free_port_is_free_for_tcp_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        found = iter([taken.getsockname()[1], 0])
        monkeypatch.setattr(ports, "open_udp", lambda host, _port: open_udp(host, next(found)))
        with switcher() as on:
            assert on.server.port != taken.getsockname()[1]
            Connection(on.server.port).socket.close()
            assert not on.reports


def test_a_tcp_port_that_another_has_is_said_and_udp_goes_on() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with switcher(osc_port=taken.getsockname()[1]) as on:
            assert "OSC over TCP is off" in on.reports[0]
            assert on.after("/streamcam/seed", 5).seed == 5
