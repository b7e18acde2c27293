"""OSC over TCP, framed by lengths (OSC 1.0) or by SLIP (OSC 1.1)."""

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamcam.control.messages import Message
from streamcam.control.osc import ports
from streamcam.control.osc.packets import MAX_PACKET, PacketError, PacketStream, read_packet
from streamcam.control.osc.ports import MAX_CONNECTIONS, open_udp
from streamcam.control.osc.sockets import set_up_connection
from tests.control.osc.running_server import RunningServer, message, running_server

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
    """TCP client that reads messages."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)

    def send(self, stream: bytes) -> None:
        self.socket.sendall(stream)

    def messages(self, first: bytes) -> Iterator[Message]:
        """Yield the messages that arrive, framed in the same way as `first`."""
        framing = PacketStream()
        list(framing.feed(first))
        while received := self.socket.recv(4096):
            for packet in framing.feed(received):
                yield from read_packet(packet)


def ended(opened: socket.socket) -> bool:
    """Return True once the server has closed the connection, having read all it sent."""
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
def test_packets_are_found_however_the_stream_is_cut(
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
def test_any_stream_is_read_or_refused(stream: bytes) -> None:
    framing = PacketStream()
    with suppress(PacketError):
        for at in range(0, len(stream), 100):
            assert all(len(p) <= 2 * MAX_PACKET for p in framing.feed(stream[at : at + 100]))


@pytest.mark.parametrize(
    "stream",
    [b"\0\0\0\0rest", b"\0\1\0\0" * 9, b"\0\0\0\4abcd\xff\xff\xff\xff", b"\xc0" + b"a" * 20_000],
)
def test_a_packet_that_is_too_large_or_empty_ends_the_stream(stream: bytes) -> None:
    with pytest.raises(PacketError):
        list(PacketStream().feed(stream))


@FRAMES
def test_messages_over_tcp_apply_and_are_answered_on_their_connection(frame: Frame) -> None:
    with running_server() as running:
        client = Connection(running.server.port)
        client.send(frame(message("/streamcam/seed", 192)) + frame(message("/streamcam/ping")))
        assert next(client.messages(frame(b"/"))).address == "/streamcam/pong"
        assert running.control.target.seed == 192
        client.socket.close()


@FRAMES
def test_a_connection_may_subscribe(frame: Frame) -> None:
    with running_server() as running:
        client = Connection(running.server.port)
        client.send(frame(message("/streamcam/subscribe")))
        messages = client.messages(frame(b"/"))
        assert next(m for m in messages if m.address == "/streamcam/seed").arguments == (2,)
        next(m for m in messages if m.address == "/streamcam/preset/names")
        running.control.change({"seed": 0xC0DB})
        assert next(m for m in messages if m.address == "/streamcam/seed").arguments == (0xC0DB,)
        client.socket.close()
        wait_for_subscribers(running, 0)


def test_a_connection_may_subscribe_a_udp_port() -> None:
    with running_server() as running:
        client = Connection(running.server.port)
        client.send(counted(message("/streamcam/subscribe", running.client.port)))
        assert running.client.wait_for("/streamcam/seed") == (2,)
        client.socket.close()
        assert running.client.wait_for("/streamcam/stat/state") == ("running",)


def wait_for_subscribers(running: RunningServer, count: int) -> None:
    end = time.monotonic() + 5
    while len(running.server._subscribers) != count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_bytes_that_are_no_osc_end_only_their_connection() -> None:
    with running_server() as running:
        for stream in (b"\0\0\0\0", b"\xff" * 20_000, b"GET / HTTP/1.1\r\n" * 2000):
            client = Connection(running.server.port)
            with suppress(ConnectionError):
                client.send(stream)
            assert ended(client.socket)
            assert running.after("/streamcam/seed", len(stream)).seed == len(stream)
        assert running.server.counts["malformed"] == 3


def test_a_malformed_packet_is_answered_and_the_connection_lives_on() -> None:
    with running_server() as running:
        client = Connection(running.server.port)
        client.send(counted(b"hello") + counted(message("/streamcam/seed", 5)))
        assert next(client.messages(counted(b"/"))).address == "/streamcam/error"
        running.client.settle()
        assert running.control.target.seed == 5
        client.socket.close()


def test_a_client_that_never_reads_is_disconnected() -> None:
    with running_server(osc_rate=100_000) as running:
        client = Connection(running.server.port)
        running.after("/streamcam/prompt", "x" * 1000)
        assert is_disconnected(client, counted(message("/streamcam/get", "/prompt")) * 100)
        assert running.after("/streamcam/seed", 5).seed == 5


def is_disconnected(client: Connection, question: bytes) -> bool:
    """Send `question` over and over without reading; return whether the server disconnects."""
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


def test_the_number_of_connections_is_limited_and_closed_ones_make_room() -> None:
    with running_server() as running:
        clients = [Connection(running.server.port) for _ in range(MAX_CONNECTIONS)]
        for client in clients:
            client.send(counted(message("/streamcam/ping")))
            assert next(client.messages(counted(b"/"))).address == "/streamcam/pong"
        assert ended(Connection(running.server.port).socket)
        clients[0].socket.close()
        running.client.settle()
        fresh = Connection(running.server.port)
        fresh.send(counted(message("/streamcam/ping")))
        assert next(fresh.messages(counted(b"/"))).address == "/streamcam/pong"
        for client in [*clients, fresh]:
            client.socket.close()


def test_a_connection_that_has_been_idle_longest_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_server() as running:
        clients = [Connection(running.server.port) for _ in range(MAX_CONNECTIONS)]
        for client in clients[2:]:
            client.send(counted(message("/streamcam/ping")))
            assert next(client.messages(counted(b"/"))).address == "/streamcam/pong"
        monkeypatch.setattr(ports, "IDLE_S", 0.0)
        fresh = Connection(running.server.port)
        assert ended(clients[0].socket)
        fresh.send(counted(message("/streamcam/ping")))
        assert next(fresh.messages(counted(b"/"))).address == "/streamcam/pong"
        for client in [*clients, fresh]:
            client.socket.close()


def test_one_host_does_not_keep_another_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "IDLE_S", 3600.0)
    with running_server() as running:
        clients = [Connection(running.server.port) for _ in range(MAX_CONNECTIONS)]
        assert ended(Connection(running.server.port).socket)
        server = ("127.0.0.1", running.server.port)
        with socket.create_connection(server, 5, source_address=("127.0.0.2", 0)) as other:
            other.sendall(counted(message("/streamcam/ping")))
            assert b"/streamcam/pong" in other.recv(100)
        for client in clients:
            client.socket.close()


def test_clients_that_have_left_the_network_are_noticed_soon() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        set_up_connection(accepted)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


def test_a_descriptor_beyond_1024_is_served() -> None:
    resource = pytest.importorskip("resource", reason="descriptors are limited on POSIX")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("the system allows fewer than 1200 open files")
    with ExitStack() as stack:
        if soft != resource.RLIM_INFINITY and soft < 1200:
            resource.setrlimit(resource.RLIMIT_NOFILE, (1200, hard))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1050):
            stack.enter_context(open(os.devnull))  # noqa: PTH123
        running = stack.enter_context(running_server())
        client = Connection(running.server.port)
        stack.callback(client.socket.close)
        assert client.socket.fileno() > 1024
        client.send(counted(message("/streamcam/seed", 5)) + counted(message("/streamcam/ping")))
        assert next(client.messages(counted(b"/"))).address == "/streamcam/pong"
        assert running.after("/streamcam/delta", 0.5).seed == 5
        assert running.server.counts["failed"] == 0


def test_a_shortage_of_descriptors_neither_spins_nor_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "ACCEPT_PAUSE_S", 0.3)
    tries: list[socket.socket] = []

    def refuse(listener: socket.socket) -> None:
        tries.append(listener)
        raise OSError(errno.EMFILE, "Too many open files")

    with running_server() as running, monkeypatch.context() as patch:
        patch.setattr(socket.socket, "accept", refuse)
        client = Connection(running.server.port)
        while not tries:
            running.client.settle()
        for seed in range(20):
            assert running.after("/streamcam/seed", seed).seed == seed
        assert len(tries) <= 3
        patch.undo()
        client.send(counted(message("/streamcam/ping")))
        assert next(client.messages(counted(b"/"))).address == "/streamcam/pong"
        assert running.reports[0] == "OSC over TCP: Too many open files"
        client.socket.close()


def test_hosts_outside_the_allowed_networks_are_disconnected_at_once() -> None:
    with running_server(osc_allow="10.0.0.0/8") as running:
        assert ended(Connection(running.server.port).socket)
        assert running.server.counts["not allowed"] == 1


def test_a_free_port_is_free_for_tcp_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        found = iter([taken.getsockname()[1], 0])
        monkeypatch.setattr(ports, "open_udp", lambda host, _port: open_udp(host, next(found)))
        with running_server() as running:
            assert running.server.port != taken.getsockname()[1]
            Connection(running.server.port).socket.close()
            assert not running.reports


def test_a_tcp_port_in_use_is_reported_and_udp_goes_on() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with running_server(osc_port=taken.getsockname()[1]) as running:
            assert "OSC over TCP is off" in running.reports[0]
            assert running.after("/streamcam/seed", 5).seed == 5
