"""Sockets of the OSC ports: open them, and read which packets were refused."""

import errno
import socket
import sys
from typing import Any

from streamcam.errors import DeviceError
from streamcam.system.network import endpoint

Peer = tuple[Any, ...]
"""Address of a client's socket: host, port, and what IPv6 adds, or `TCP` for a connection."""
TCP = "tcp"

RECEIVE_BUFFER = 1 << 20
"""Bytes that may wait while a bundle is applied."""
MAX_REFUSALS = 64
"""Refusals read at a time."""
# From linux/in.h and linux/in6.h; Python does not name them everywhere.
IP_RECVERR = 11
IPV6_RECVERR = 25

KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""A client that has left the network is noticed within a minute (by default, two hours)."""

REMEDIES = {
    errno.EADDRINUSE: "it is in use, perhaps by another streamcam; take another with --osc-port,"
    " or --osc-port 0 for a free one",
    errno.EACCES: "ports below 1024 are the system's; take another with --osc-port",
    errno.EADDRNOTAVAIL: "this machine has no such address; take one with --osc-bind, 0.0.0.0"
    " stands for all",
}


def open_udp(host: str, port: int) -> socket.socket:
    """Return a non-blocking UDP socket bound to `host` and `port`.

    Raises:
        DeviceError: the address or the port is not available.
    """
    opened = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if sys.platform == "linux":
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
            else:
                opened.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        opened.bind(address)
        opened.setblocking(False)
    except (OSError, UnicodeError) as error:
        if opened:
            opened.close()
        known = REMEDIES.get(getattr(error, "errno", None) or 0)
        unknown_host = isinstance(error, (socket.gaierror, UnicodeError))
        reason = REMEDIES[errno.EADDRNOTAVAIL] if unknown_host else known or error
        raise DeviceError(f"cannot listen to OSC at {endpoint(host, port)}: {reason}") from None
    return opened


def open_tcp(udp: socket.socket) -> socket.socket:
    """Return a TCP socket that listens at the address of `udp`; raise OSError if it cannot."""
    opened = socket.socket(udp.family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            # So that the port is free again as soon as streamcam is restarted.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(udp.getsockname())
        opened.listen(8)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def set_up_connection(opened: socket.socket) -> None:
    """Make an accepted TCP connection non-blocking, prompt, and checked for a client that left."""
    opened.setblocking(False)
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if option := getattr(socket, name, None):
            opened.setsockopt(socket.IPPROTO_TCP, option, value)


def read_refusals(udp: socket.socket) -> list[Peer]:
    """Return the peers that refused a packet, as far as the system reports them (Linux does)."""
    peers: list[Peer] = []
    if sys.platform != "linux":
        return peers
    try:
        while len(peers) < MAX_REFUSALS:
            *_, peer = udp.recvmsg(64, 512, socket.MSG_ERRQUEUE)
            peers.append(peer)
    except BlockingIOError:
        return peers
    return peers
