"""Addresses of the network, as text and as this machine's own."""

import socket
from types import SimpleNamespace

import psutil
import pytest

from streamcam.system.network import (
    endpoint,
    interface_to,
    is_loopback,
    is_own_address,
    network_host,
    page_url,
    parse_endpoint,
)


@pytest.mark.parametrize(
    ("host", "shown", "url"),
    [
        ("127.0.0.1", "127.0.0.1:8090", "http://127.0.0.1:8090/"),
        ("::1", "[::1]:8090", "http://[::1]:8090/"),
        ("studio.local", "studio.local:8090", "http://studio.local:8090/"),
        ("0.0.0.0", "0.0.0.0:8090", "http://127.0.0.1:8090/"),
        ("::", "[::]:8090", "http://[::1]:8090/"),
        ("fe80::7%eth0", "[fe80::7%eth0]:8090", "http://[fe80::7]:8090/"),
    ],
)
def test_ipv6_addresses_are_shown_in_brackets(host: str, shown: str, url: str) -> None:
    assert endpoint(host, 8090) == shown
    assert page_url(host, 8090) == url


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("192.0.2.1", False), ("2001:db8::7", False)],
)
def test_own_addresses_are_known(host: str, own: bool) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    assert is_own_address(host) is own


@pytest.mark.parametrize(
    ("host", "only_here"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.7", False),
        ("fe80::1%eth0", False),
        ("no.such.host.invalid", False),
    ],
)
def test_only_loopback_is_heard_by_this_machine_alone(host: str, only_here: bool) -> None:
    assert is_loopback(host) == only_here


def test_other_machines_reach_a_server_at_the_address_it_was_bound_to() -> None:
    assert network_host("192.168.1.7") == "192.168.1.7"
    assert network_host("0.0.0.0") not in ("0.0.0.0", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost", ("localhost", 4455)),
        ("studio.local:4460", ("studio.local", 4460)),
        ("[::1]:4460", ("::1", 4460)),
        ("[::1]", ("::1", 4455)),
    ],
)
def test_hosts_are_read_with_and_without_a_port(text: str, expected: tuple[str, int]) -> None:
    assert parse_endpoint(text, 4455) == expected


@pytest.mark.parametrize(
    "text", ["", ":4455", "::1", "host:port", "host:99999", "me@host", "ws://host", "host/path"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be HOST or HOST:PORT"):
        parse_endpoint(text, 4455)


def test_the_interface_is_the_one_that_leads_to_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interface_to("127.0.0.1") is None  # Only this machine reaches that.
    assert interface_to("no-such-host.invalid") is None

    class Socket(socket.socket):
        def connect(self, address: object) -> None: ...

        def getsockname(self) -> tuple[str, int]:
            return "10.0.0.7", 9

    addresses = {"lo": ["127.0.0.1"], "eth1": ["fe80::1%eth1", "10.0.0.7"]}
    interfaces = {
        name: [SimpleNamespace(address=a) for a in own] for name, own in addresses.items()
    }
    monkeypatch.setattr(socket, "socket", Socket)
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: interfaces)
    assert interface_to("10.0.0.9") == "eth1"
