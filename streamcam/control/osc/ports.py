"""Network ports: a UDP port, and connections to the TCP port of the same number."""

import errno
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from streamcam.control.osc.floods import Sender, drop_packets_of
from streamcam.control.osc.packets import MAX_PACKET, PacketError, PacketStream
from streamcam.control.osc.sockets import (
    TCP,
    Peer,
    open_tcp,
    open_udp,
    read_refusals,
    set_up_connection,
)
from streamcam.errors import DeviceError
from streamcam.limits import client_to_evict
from streamcam.system.network import endpoint

MAX_CONNECTIONS = 16
MAX_UNSENT = 1 << 18
"""Bytes that a client may leave unread before its connection is closed."""
IDLE_S = 10.0
"""Seconds without a packet either way after which a connection makes room for another."""
ACCEPT_PAUSE_S = 1.0
"""Seconds for which nobody is let in after the system could not open another connection."""
FREE_PORT_TRIES = 20
"""Ports tried for one that is free for both UDP and TCP."""
PACKETS_PER_ROUND = 1024
"""UDP packets taken from the system at a time; most of a flood is dropped right after."""


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

    def __init__(self, opened: socket.socket, host: str) -> None:
        set_up_connection(opened)
        self.socket = opened
        self.host = host
        self.packets = PacketStream()
        self.unsent = b""
        self.waiting_since = time.monotonic()
        """Time when a packet last came in, or all was read that had been sent."""

    def flush(self) -> None:
        """Send as much as can be sent now; raise OSError if the client is gone."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return
        if not self.unsent:
            self.waiting_since = time.monotonic()


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
        self._accept_again_at = 0.0
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
        self._watch()

    @property
    def shown(self) -> str:
        """The address and what it serves, in a few words for the log."""
        kinds = "UDP and TCP" if self._tcp else "UDP"
        return f"{endpoint(self._udp.getsockname()[0], self.port)} ({kinds})"

    def close(self) -> None:
        self._selector.close()
        for connection in self._connections.values():
            connection.socket.close()
        for opened in (self._udp, self._tcp):
            if opened:
                opened.close()

    def receive(self, timeout_s: float) -> Iterator[tuple[bytes, Peer]]:
        """Wait at most `timeout_s` for packets; yield those that arrived, with their senders."""
        if self._accept_again_at and time.monotonic() >= self._accept_again_at and self._tcp:
            self._accept_again_at = 0.0
            self._selector.register(self._tcp, selectors.EVENT_READ)
        for key, events in self._selector.select(timeout_s):
            peer = key.data
            if key.fileobj is self._udp:
                yield from self._receive_datagrams()
            elif key.fileobj is self._tcp:
                self._accept(self._tcp)
            # One that was handled before may have had this connection closed.
            elif peer in self._connections and events & selectors.EVENT_WRITE:
                self._send_stream(peer)
            elif peer in self._connections:
                yield from self._receive_stream(peer)

    def send(self, packet: bytes, peer: Peer) -> None:
        """Send `packet` to `peer`; one that cannot be delivered is counted."""
        if peer[-1] != TCP:
            self._send_datagram(packet, peer)
        elif connection := self._connections.get(peer):
            connection.unsent += connection.packets.wrap(packet)
            self._send_stream(peer)
            if len(connection.unsent) > MAX_UNSENT:
                self._close_connection(peer)

    def drop_packets_of(self, senders: Sequence[Sender]) -> None:
        """Have the system drop the UDP packets of `senders`, and of nobody else."""
        drop_packets_of(senders, self._udp)

    def _watch(self) -> None:
        """Watch the sockets, of any number and with descriptors of any size."""
        try:
            self._selector = selectors.DefaultSelector()
        except OSError as error:
            for opened in (self._udp, self._tcp):
                if opened:
                    opened.close()
            raise DeviceError(f"cannot listen to OSC: {error.strerror or error}") from None
        self._selector.register(self._udp, selectors.EVENT_READ)
        if self._tcp:
            self._selector.register(self._tcp, selectors.EVENT_READ)

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
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of descriptors, say: whoever waits would wake us again at once.
            self._selector.unregister(listener)
            self._accept_again_at = time.monotonic() + ACCEPT_PAUSE_S
            self._owner.log(f"OSC over TCP: {error.strerror or error}")
            return
        host = address[0]
        if not self._owner.allows(host):
            opened.close()
        elif not self._make_room(host):
            self._owner.counts["too many connections"] += 1
            opened.close()
        else:
            self._add_connection((host, address[1], TCP), opened)

    def _make_room(self, host: str) -> bool:
        """Return whether there is room for a connection of `host`, having closed one if need be."""
        if len(self._connections) < MAX_CONNECTIONS:
            return True
        connections = self._connections.values()
        freed = client_to_evict(connections, host, time.monotonic(), patience_s=IDLE_S)
        for peer, connection in list(self._connections.items()):
            if connection is freed:
                self._close_connection(peer)
        return freed is not None

    def _add_connection(self, peer: Peer, opened: socket.socket) -> None:
        try:
            connection = Connection(opened, peer[0])
            self._selector.register(opened, selectors.EVENT_READ, peer)
        except OSError:
            # The client has gone already.
            opened.close()
        else:
            self._connections[peer] = connection

    def _receive_stream(self, peer: Peer) -> Iterator[tuple[bytes, Peer]]:
        connection = self._connections[peer]
        try:
            received = connection.socket.recv(MAX_PACKET)
            for packet in connection.packets.feed(received):
                if not connection.unsent:
                    connection.waiting_since = time.monotonic()
                yield packet, peer
        except BlockingIOError:
            return
        except (OSError, PacketError) as error:
            self._owner.counts["malformed"] += isinstance(error, PacketError)
            self._close_connection(peer)
        else:
            if not received:
                self._close_connection(peer)

    def _send_stream(self, peer: Peer) -> None:
        connection = self._connections[peer]
        try:
            connection.flush()
            writing = selectors.EVENT_WRITE if connection.unsent else 0
            self._selector.modify(connection.socket, selectors.EVENT_READ | writing, peer)
        except OSError:
            self._owner.counts["undelivered"] += 1
            self._close_connection(peer)

    def _close_connection(self, peer: Peer) -> None:
        if connection := self._connections.pop(peer, None):
            self._selector.unregister(connection.socket)
            connection.socket.close()
            self._owner.refused(peer, closed=True)
