"""Where packets come in and go out: a UDP port, and connections to the TCP port of its number."""

import errno
import select
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Protocol

from streamcam.control.osc.feedback import TCP, Peer
from streamcam.control.osc.framing import Framing
from streamcam.control.osc.packets import MAX_PACKET, PacketError
from streamcam.control.osc.sockets import bound, listening, refusals

MAX_CONNECTIONS = 16
MOST_UNSENT = 1 << 18
"""Bytes that a connection may leave unread before it is closed."""
FREE_PORTS_TRIED = 20
"""Until one is free for UDP and for TCP."""
AT_ONCE = 64
"""Packets taken before feedback has its turn."""


class Owner(Protocol):
    """Who the ports belong to."""

    counts: Counter[str]

    def allows(self, host: str) -> bool:
        """Return whether `host` may be heard."""

    def refused(self, peer: Peer, *, closed: bool) -> None:
        """Hear that nobody took a packet at `peer`, or that its connection is over."""

    def log(self, line: str) -> None:
        """Take a line for the log, if there have not been too many."""


class Connection:
    """One TCP client."""

    def __init__(self, opened: socket.socket) -> None:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A tablet that has left the network says nothing any more.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.socket = opened
        self.framing = Framing()
        self.unsent = b""

    def flush(self) -> None:
        """Send what can be sent now; raise OSError if the other side is gone."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return


class Ports:
    """Both ports, for one thread."""

    def __init__(self, host: str, port: int, owner: Owner) -> None:
        """Open the ports; raise DeviceError if the UDP port cannot be had.

        The TCP port of the same number is left alone, with a line in the log, if another
        program has it; for `port` 0 one is taken that is free for both.
        """
        self._owner = owner
        self._connections: dict[Peer, Connection] = {}
        self._tcp: socket.socket | None = None
        tries = 1 if port else FREE_PORTS_TRIED
        while self._tcp is None and tries:
            self._udp = bound(host, port)
            self.port = int(self._udp.getsockname()[1])
            tries -= 1
            try:
                self._tcp = listening(self._udp)
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

    def receive(self, seconds: float) -> Iterator[tuple[bytes, Peer]]:
        """Wait so many seconds for packets; yield those that have come, and from whom."""
        peers = {connection.socket: peer for peer, connection in self._connections.items()}
        listeners = [opened for opened in (self._udp, self._tcp) if opened]
        sending = [c.socket for c in self._connections.values() if c.unsent]
        readable, writable, _ = select.select([*listeners, *peers], sending, [], seconds)
        for opened in writable:
            self._try(peers[opened], self._connections[peers[opened]].flush)
        for opened in readable:
            if opened is self._udp:
                yield from self._datagrams()
            elif opened is self._tcp:
                self._accept(opened)
            elif peers[opened] in self._connections:
                yield from self._stream(peers[opened])

    def send(self, packet: bytes, peer: Peer) -> None:
        """Send `packet` to `peer`; what cannot be delivered is counted."""
        if peer[-1] != TCP:
            self._send_datagram(packet, peer)
        elif connection := self._connections.get(peer):
            connection.unsent += connection.framing.wrap(packet)
            self._try(peer, connection.flush)
            if len(connection.unsent) > MOST_UNSENT:
                self._drop(peer)

    def _datagrams(self) -> Iterator[tuple[bytes, Peer]]:
        for _ in range(AT_ONCE):
            try:
                yield self._udp.recvfrom(MAX_PACKET + 1)
            except BlockingIOError:
                # Without a packet it may be errors that keep the socket from being quiet.
                self._hear_refusals()
                return
            except OSError as error:
                self._lost(error)

    def _send_datagram(self, packet: bytes, peer: Peer) -> None:
        for _ in range(2):
            try:
                self._udp.sendto(packet, peer)
            except OSError as error:
                # What the system reports here belongs to an earlier packet, whoever got that.
                self._lost(error)
            else:
                return

    def _lost(self, error: OSError) -> None:
        """Note that packets did not get where they should."""
        self._owner.counts["undelivered"] += 1
        self._hear_refusals()
        if error.errno not in (errno.ECONNREFUSED, errno.ECONNRESET):
            self._owner.log(f"OSC: a packet was lost: {error.strerror or error}")

    def _hear_refusals(self) -> None:
        for peer in refusals(self._udp):
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

    def _stream(self, peer: Peer) -> Iterator[tuple[bytes, Peer]]:
        connection = self._connections[peer]
        try:
            received = connection.socket.recv(MAX_PACKET)
            for packet in connection.framing.feed(received):
                yield packet, peer
        except BlockingIOError:
            return
        except (OSError, PacketError) as error:
            self._owner.counts["malformed"] += isinstance(error, PacketError)
            self._drop(peer)
        else:
            if not received:
                self._drop(peer)

    def _try(self, peer: Peer, send: Callable[[], None]) -> None:
        try:
            send()
        except OSError:
            self._owner.counts["undelivered"] += 1
            self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        if connection := self._connections.pop(peer, None):
            connection.socket.close()
            self._owner.refused(peer, closed=True)
