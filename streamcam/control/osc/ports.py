"""Network ports: a UDP port, and connections to the TCP port of the same number."""

import errno
import select
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from streamcam.control.osc.packets import MAX_PACKET, PacketError, PacketStream
from streamcam.errors import DeviceError

Peer = tuple[Any, ...]
"""Address of a client's socket: host, port, and what IPv6 adds, or `TCP` for a connection."""
TCP = "tcp"

RECEIVE_BUFFER = 1 << 20
"""Bytes that may wait while a bundle is applied."""
MAX_CONNECTIONS = 16
MAX_UNSENT = 1 << 18
"""Bytes that a client may leave unread before its connection is closed."""
FREE_PORT_TRIES = 20
"""Ports tried for one that is free for both UDP and TCP."""
PACKETS_PER_ROUND = 64
"""Packets received before feedback has its turn."""
MAX_REFUSALS = 64
"""Refusals read at a time."""
# From linux/in.h and linux/in6.h; Python does not name them everywhere.
IP_RECVERR = 11
IPV6_RECVERR = 25

REMEDIES = {
    errno.EADDRINUSE: "it is in use, perhaps by another streamcam; take another with --osc-port,"
    " or --osc-port 0 for a free one",
    errno.EACCES: "ports below 1024 are the system's; take another with --osc-port",
    errno.EADDRNOTAVAIL: "this machine has no such address; take one with --osc-bind, 0.0.0.0"
    " stands for all",
}


class Owner(Protocol):
    """The server that the ports belong to."""

    counts: Counter[str]

    def allows(self, host: str) -> bool:
        """Return whether `host` may connect."""

    def refused(self, peer: Peer, *, closed: bool) -> None:
        """Note that a packet to `peer` was refused, or that its connection is closed."""

    def log(self, line: str) -> None:
        """Log a line, unless there have been too many."""


class Connection:
    """One TCP client."""

    def __init__(self, opened: socket.socket) -> None:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A tablet that has left the network does not close its connection.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.socket = opened
        self.packets = PacketStream()
        self.unsent = b""

    def flush(self) -> None:
        """Send as much as can be sent now; raise OSError if the client is gone."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return


class Ports:
    """Both ports, for use by one thread."""

    def __init__(self, host: str, port: int, owner: Owner) -> None:
        """Open the ports; raise DeviceError if the UDP port cannot be opened.

        If another program has the TCP port of the same number, OSC over TCP stays off, with a
        line in the log. For `port` 0, a port is taken that is free for both.
        """
        self._owner = owner
        self._connections: dict[Peer, Connection] = {}
        self._tcp: socket.socket | None = None
        tries = 1 if port else FREE_PORT_TRIES
        while self._tcp is None and tries:
            self._udp = open_udp(host, port)
            self.port = int(self._udp.getsockname()[1])
            tries -= 1
            try:
                self._tcp = open_tcp(self._udp)
            except OSError as error:
                if tries:
                    self._udp.close()
                else:
                    owner.log(f"OSC over TCP is off: port {self.port}: {error.strerror or error}")

    def close(self) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        for opened in (self._udp, self._tcp):
            if opened:
                opened.close()

    def receive(self, timeout_s: float) -> Iterator[tuple[bytes, Peer]]:
        """Wait at most `timeout_s` for packets; yield those that arrived, with their senders."""
        peers = {connection.socket: peer for peer, connection in self._connections.items()}
        listeners = [opened for opened in (self._udp, self._tcp) if opened]
        sending = [c.socket for c in self._connections.values() if c.unsent]
        readable, writable, _ = select.select([*listeners, *peers], sending, [], timeout_s)
        for opened in writable:
            self._try(peers[opened], self._connections[peers[opened]].flush)
        for opened in readable:
            if opened is self._udp:
                yield from self._receive_datagrams()
            elif opened is self._tcp:
                self._accept(opened)
            elif peers[opened] in self._connections:
                yield from self._receive_stream(peers[opened])

    def send(self, packet: bytes, peer: Peer) -> None:
        """Send `packet` to `peer`; one that cannot be delivered is counted."""
        if peer[-1] != TCP:
            self._send_datagram(packet, peer)
        elif connection := self._connections.get(peer):
            connection.unsent += connection.packets.wrap(packet)
            self._try(peer, connection.flush)
            if len(connection.unsent) > MAX_UNSENT:
                self._close_connection(peer)

    def _receive_datagrams(self) -> Iterator[tuple[bytes, Peer]]:
        for _ in range(PACKETS_PER_ROUND):
            try:
                yield self._udp.recvfrom(MAX_PACKET + 1)
            except BlockingIOError:
                # If there is no packet, errors may be what makes the socket readable.
                self._report_refusals()
                return
            except OSError as error:
                self._count_lost(error)

    def _send_datagram(self, packet: bytes, peer: Peer) -> None:
        for _ in range(2):
            try:
                self._udp.sendto(packet, peer)
            except OSError as error:
                # The system reports an earlier packet here, perhaps to another client: try again.
                self._count_lost(error)
            else:
                return

    def _count_lost(self, error: OSError) -> None:
        """Count a packet that was not delivered."""
        self._owner.counts["undelivered"] += 1
        self._report_refusals()
        if error.errno not in (errno.ECONNREFUSED, errno.ECONNRESET):
            self._owner.log(f"OSC: a packet was lost: {error.strerror or error}")

    def _report_refusals(self) -> None:
        for peer in read_refusals(self._udp):
            self._owner.refused(peer, closed=False)

    def _accept(self, listener: socket.socket) -> None:
        try:
            opened, address = listener.accept()
        except OSError as error:
            self._owner.log(f"OSC over TCP: {error.strerror or error}")
            return
        if not self._owner.allows(address[0]):
            self._owner.counts["not allowed"] += 1
            opened.close()
        elif len(self._connections) >= MAX_CONNECTIONS:
            self._owner.counts["too many connections"] += 1
            opened.close()
        else:
            self._connections[(*address[:2], TCP)] = Connection(opened)

    def _receive_stream(self, peer: Peer) -> Iterator[tuple[bytes, Peer]]:
        connection = self._connections[peer]
        try:
            received = connection.socket.recv(MAX_PACKET)
            for packet in connection.packets.feed(received):
                yield packet, peer
        except BlockingIOError:
            return
        except (OSError, PacketError) as error:
            self._owner.counts["malformed"] += isinstance(error, PacketError)
            self._close_connection(peer)
        else:
            if not received:
                self._close_connection(peer)

    def _try(self, peer: Peer, send: Callable[[], None]) -> None:
        try:
            send()
        except OSError:
            self._owner.counts["undelivered"] += 1
            self._close_connection(peer)

    def _close_connection(self, peer: Peer) -> None:
        if connection := self._connections.pop(peer, None):
            connection.socket.close()
            self._owner.refused(peer, closed=True)


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
        raise DeviceError(f"cannot listen to OSC at {host}:{port}: {reason}") from None
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
