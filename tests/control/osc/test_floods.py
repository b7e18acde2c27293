"""Floods: who is blocked and for how long, and that the system drops that and nothing else."""

import socket
import sys
from contextlib import suppress

import pytest

from streamcam.control.osc.floods import MAX_SENDERS, FloodDetector, Sender, drop_packets_of

needs_filters = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such filters")


def flood(detector: FloodDetector, port: int, now: float, number: int = 101) -> None:
    for _ in range(number):
        detector.refused("10.0.0.1", port, now)


def test_a_port_is_blocked_for_longer_each_time_that_it_goes_on() -> None:
    detector = FloodDetector(100)
    flood(detector, 5000, 0.0, number=100)
    assert detector.blocked(0.0) == []
    flood(detector, 5000, 0.5)
    assert detector.blocked(0.5) == [("10.0.0.1", 5000)]
    assert detector.blocked(2.6) == []
    flood(detector, 5000, 2.6)
    assert detector.blocked(6.5) == [("10.0.0.1", 5000)]
    assert detector.blocked(6.7) == []
    # It has behaved for as long as it was blocked: the first block is short again.
    assert detector.blocked(20.0) == []
    flood(detector, 5000, 20.0)
    assert detector.blocked(22.1) == []


def test_a_host_that_floods_from_many_ports_is_blocked_as_a_whole() -> None:
    detector = FloodDetector(100)
    for port in range(5000, 5010):
        flood(detector, port, 0.0, number=50)
    assert detector.blocked(0.0) == [("10.0.0.1", None)]


def test_a_sender_a_little_over_the_rate_is_not_blocked() -> None:
    detector = FloodDetector(100)
    for tenth in range(100):
        flood(detector, 5000, tenth / 10, number=9)
        assert detector.blocked(tenth / 10) == []


def test_the_number_of_blocked_senders_is_limited() -> None:
    detector = FloodDetector(0)
    for number in range(2 * MAX_SENDERS):
        detector.refused(f"10.0.0.{number}", 5000, 0.0)
    assert len(detector.blocked(0.0)) == MAX_SENDERS


def heard(server: socket.socket, *clients: socket.socket) -> list[int]:
    """Return the places of those `clients` whose packets reach `server`."""
    for place, client in enumerate(clients):
        client.sendto(bytes([place]), server.getsockname())
    places = []
    with suppress(BlockingIOError):
        while True:
            places.append(server.recv(10)[0])
    return places


@needs_filters
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_system_drops_the_packets_of_blocked_senders_only(family: socket.AddressFamily) -> None:
    def opened(host: str) -> socket.socket:
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.bind((host, 0))
        made.setblocking(False)
        return made

    other = "127.0.0.2" if family == socket.AF_INET else "::1"
    own = "127.0.0.1" if family == socket.AF_INET else "::1"
    try:
        server, first, second, third = opened(own), opened(own), opened(own), opened(other)
    except OSError:
        pytest.skip("no IPv6 here")
    with server, first, second, third:
        ports = [client.getsockname()[1] for client in (first, second, third)]
        drop_packets_of([Sender("10.9.8.7", None), Sender("fe80::7%eth0", None)], server)
        assert heard(server, first, second, third) == [0, 1, 2]
        drop_packets_of([Sender(own, ports[0]), Sender(other, ports[1])], server)
        assert heard(server, first, second, third) == ([1, 2] if own != other else [2])
        drop_packets_of([Sender(f"::ffff:{own}" if "." in own else own, None)], server)
        assert heard(server, first, second, third) == ([2] if own != other else [])
        many = [Sender(f"10.0.{n}.1", n) for n in range(MAX_SENDERS - 1)]
        drop_packets_of([*many, Sender(other, ports[2])], server)
        assert heard(server, first, second, third) == [0, 1]
        drop_packets_of([], server)
        assert heard(server, first, second, third) == [0, 1, 2]
