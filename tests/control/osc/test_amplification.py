"""Hosts whose address may be forged get little until they have shown that they receive."""

import errno
import socket
from collections.abc import Iterator

import pytest

from streamcam.control.messages import Message
from streamcam.control.osc import amplification
from streamcam.control.osc.admission import is_own_port
from streamcam.control.osc.amplification import FACTOR, AmplificationLimit
from streamcam.control.osc.feedback import MAX_SUBSCRIBERS
from streamcam.control.osc.packets import write_packet
from streamcam.control.osc.sockets import TCP
from tests.control.osc.running_server import Client, RunningServer, message, running_server

REMOTE = "127.0.0.2"
"""Host that stands for another machine in these tests."""


@pytest.fixture(autouse=True)
def other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amplification, "is_this_machine", lambda host: host == "127.0.0.1")


@pytest.fixture
def running() -> Iterator[RunningServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def remote(running: RunningServer) -> Iterator[Client]:
    with Client(running.server.port, REMOTE) as client:
        yield client


def size(messages: list[Message]) -> int:
    return sum(len(write_packet(m)) for m in messages)


def test_one_packet_in_the_name_of_another_costs_it_little(
    running: RunningServer, remote: Client
) -> None:
    packet = message("/streamcam/subscribe", remote.port, 0)
    remote.raw(packet)
    received = list(remote.receive(1.2))
    running.control.change({"guidance_scale": 3.0})
    received += remote.receive(0.3)
    assert received[0].address == "/streamcam/confirm"
    assert 0 < size(received) <= FACTOR * len(packet)
    assert running.server.counts["not proven"]


@pytest.mark.parametrize("name", ["sync", "get", "nothing", "ping", "confirm"])
def test_no_answer_is_many_times_as_long_as_the_question(
    running: RunningServer, remote: Client, name: str
) -> None:
    running.control.change({"prompt": "x" * 1000})
    packet = message(f"/streamcam/{name}", "prompt")
    remote.raw(packet)
    assert size(list(remote.receive(0.3))) <= FACTOR * len(packet)


def test_whoever_sends_back_the_text_gets_everything(
    running: RunningServer, remote: Client
) -> None:
    remote.send("/streamcam/subscribe")
    text = remote.wait_for("/streamcam/confirm")[0]
    remote.send("/streamcam/confirm", "another")
    remote.send("/streamcam/confirm")
    remote.send("/streamcam/confirm", text)
    for address in ("/streamcam/snapshot", "/streamcam/preset/names", "/streamcam/stat/state"):
        if address != "/streamcam/snapshot":
            remote.wait_for(address)
    remote.send("/streamcam/sync")
    assert remote.wait_for("/streamcam/preset/names")
    assert running.reports == []


def test_a_client_that_never_answers_gets_all_values_while_it_is_used(
    running: RunningServer, remote: Client
) -> None:
    remote.send("/streamcam/subscribe")
    received: dict[str, object] = {}
    for number in range(60):
        remote.send("/streamcam/guidance_scale", number / 10)
        received |= remote.receive(0.02)
        if "/streamcam/preset/names" in received:
            break
    assert {"/streamcam/prompt", "/streamcam/mix/norm", "/streamcam/preset/names"} <= set(received)


def test_a_client_that_never_answers_gets_all_figures_while_it_is_there(
    running: RunningServer, remote: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamcam.control.osc.server.STATS_PERIOD", 0.01)
    remote.send("/streamcam/subscribe", remote.port, 0)
    received: set[str] = set()
    for _ in range(200):
        remote.send("/streamcam/ping")
        received |= {m.address for m in remote.receive(0.02)}
        if {f"/streamcam/stat/{name}" for name in ("fps", "state", "power")} <= received:
            break
    else:
        pytest.fail(f"only {received}")


def test_a_connection_over_tcp_shows_it_too(running: RunningServer, remote: Client) -> None:
    server = ("127.0.0.1", running.server.port)
    with socket.create_connection(server, 5, source_address=(REMOTE, 0)) as tcp:
        ping = message("/streamcam/ping")
        tcp.sendall(len(ping).to_bytes(4, "big") + ping)
        assert tcp.recv(100)
        remote.send("/streamcam/subscribe")
        assert remote.wait_for("/streamcam/preset/names")


def test_those_who_have_not_shown_it_make_room_for_those_who_have(running: RunningServer) -> None:
    for number in range(MAX_SUBSCRIBERS):
        with Client(running.server.port, f"127.0.1.{number}") as forged:
            forged.send("/streamcam/subscribe")
            assert forged.wait_for("/streamcam/confirm")
    running.client.send("/streamcam/subscribe")
    assert running.client.wait_for("/streamcam/preset/names")


def test_credit_is_limited_and_that_of_a_host_is_its_own() -> None:
    limit = AmplificationLimit()
    first, second = ("10.0.0.1", 9000), ("10.0.0.2", 9000)
    limit.received(first, 10)
    assert not limit.may_send(second, 1)
    assert limit.may_send(first, 10 * FACTOR)
    assert not limit.may_send(first, 1)
    limit.received(first, 10**9)
    assert not limit.may_send(first, amplification.MAX_CREDIT + 1)
    assert not limit.prove("10.0.0.2", limit.challenge("10.0.0.1"))
    assert not limit.prove("10.0.0.1", "ä")
    assert limit.prove("10.0.0.1", limit.challenge("10.0.0.1"))
    assert limit.may_send(first, 10**9)
    assert limit.may_send(("10.0.0.3", 40000, TCP), 10**9)


@pytest.mark.parametrize(
    ("host", "wanted"), [("127.0.0.1", True), ("192.0.2.1", False), ("fe80::7%none", False)]
)
def test_this_machine_needs_to_show_nothing(host: str, wanted: bool) -> None:
    assert ORIGINAL(host) is wanted


def test_a_host_is_no_other_one_because_descriptors_ran_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("streamcam.system.network.socket.socket", fail)
        assert not ORIGINAL("127.0.0.77")
        assert is_own_port(("192.0.2.1", 9000), 9000)
    assert ORIGINAL("127.0.0.77")
    assert not is_own_port(("192.0.2.1", 9000), 9000)


ORIGINAL = amplification.is_this_machine
