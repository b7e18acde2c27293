"""Addresses of the network: how they are written, and whether one is this machine's."""

import errno
import socket
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

import psutil


def endpoint(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets, as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_endpoint(text: str, default_port: int) -> tuple[str, int]:
    """Return the host and port in ``HOST``, ``HOST:PORT`` or ``[IPv6]:PORT``.

    Raises:
        ValueError: it is none of these.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.netloc != text or "@" in text:
        raise ValueError("must be HOST or HOST:PORT, such as localhost:4455")
    return host, default_port if port is None else port


def page_url(host: str, port: int) -> str:
    """Return the URL that a browser on this machine opens a page with that listens at `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    # A browser has no notion of the interface of a link-local address.
    return f"http://{endpoint(host.partition('%')[0], port)}/"


def is_loopback(host: str) -> bool:
    """Return whether whoever listens at `host` hears this machine only."""
    with suppress(ValueError):
        return ip_address(host.partition("%")[0]).is_loopback
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ip_address(str(item[4][0]).partition("%")[0]).is_loopback for item in found)


def network_host(bind: str) -> str:
    """Return the host by which other machines reach whoever listens at `bind`: an address or name.

    Nothing is sent to find it.
    """
    if bind not in ("0.0.0.0", "::", ""):
        return bind
    family, elsewhere = (
        (socket.AF_INET6, "2001:db8::1") if bind == "::" else (socket.AF_INET, "192.0.2.1")
    )
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as opened:
        # The system chooses the address that it would send from.
        opened.connect((elsewhere, 9))
        return str(opened.getsockname()[0])
    return socket.gethostname()


def is_own_address(host: str) -> bool:
    """Return whether the numeric address `host` is one of this machine's.

    Raises:
        OSError: the system cannot tell, since it is out of descriptors, say.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )[0]
        with socket.socket(family, kind, protocol) as opened:
            opened.bind(address)
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, socket.EAI_NONAME):
            return False
        raise
    return True


def interface_to(host: str) -> str | None:
    """Return the name of the network interface by which this machine reaches `host`.

    Nothing is sent to find it. None for a host that is unknown, that no route leads to, or that
    only this machine can reach.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as opened:
            opened.connect(address)
            own = str(opened.getsockname()[0])
    except OSError:
        return None
    names = [
        name
        for name, addresses in psutil.net_if_addrs().items()
        if own in [each.address.partition("%")[0] for each in addresses]
    ]
    return None if ip_address(own.partition("%")[0]).is_loopback or not names else names[0]
