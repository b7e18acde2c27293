"""The sockets, and what the system says of packets that nobody took."""

import errno
import socket
import sys
from collections.abc import Sequence

from streamcam.control.osc.feedback import Peer
from streamcam.errors import DeviceError

BUFFER = 1 << 20
"""Bytes that may wait while a bundle is applied."""
# From linux/in.h and linux/in6.h; Python does not name them everywhere.
IP_RECVERR = 11
IPV6_RECVERR = 25
MOST_REFUSALS = 64

REMEDIES = {
    errno.EADDRINUSE: "it is in use, perhaps by another streamcam; take another with --osc-port,"
    " or --osc-port 0 for a free one",
    errno.EACCES: "ports below 1024 are the system's; take another with --osc-port",
    errno.EADDRNOTAVAIL: "this machine has no such address; take one with --osc-bind, 0.0.0.0"
    " stands for all",
}


def bound(host: str, port: int) -> socket.socket:
    """Return a UDP socket that listens at `host` and `port` and never waits.

    Raises:
        DeviceError: the address or the port cannot be had.
    """
    opened = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
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
        raise DeviceError(f"cannot listen to OSC at {host}:{port}: {reason}") from None
    return opened


def listening(udp: socket.socket) -> socket.socket:
    """Return a TCP socket that listens where `udp` does; raise OSError if it cannot."""
    opened = socket.socket(udp.family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            # So that the port is free again as soon as streamcam is started anew.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(udp.getsockname())
        opened.listen(8)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def refusals(opened: socket.socket) -> Sequence[Peer]:
    """Return where packets went that nobody took, as far as the system tells (Linux does)."""
    found: list[Peer] = []
    if sys.platform != "linux":
        return found
    try:
        while len(found) < MOST_REFUSALS:
            *_, peer = opened.recvmsg(64, 512, socket.MSG_ERRQUEUE)
            found.append(peer)
    except BlockingIOError:
        return found
    return found
