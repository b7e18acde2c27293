"""Queries: messages that ask to subscribe, for current values, or for a sign of life."""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Protocol

from streamcam.control.addresses import Row
from streamcam.control.messages import Argument, Message
from streamcam.control.osc.feedback import Subscribers
from streamcam.control.osc.sockets import TCP, Peer
from streamcam.control.values import parse_number
from streamcam.errors import ParameterError
from streamcam.version import __version__

DEFAULT_SUBSCRIPTION = 600.0
"""Seconds."""
LONGEST_SUBSCRIPTION = 7 * 24 * 3600.0
FIRST_PORT = 1024
"""Ports below are those of services, some of which send back what they get."""

QUERIES = {
    "subscribe": (
        "port, seconds",
        "Send what changes to a port of the asking host (its own by default), for 600 seconds or"
        " as many as given; 0 is until unsubscribed.",
    ),
    "unsubscribe": ("port", "Send no more."),
    "confirm": (
        "text",
        "Sent to a subscriber on another machine; sent back with the same text, it shows that the"
        " subscriber is there.",
    ),
    "sync": ("", "Send every value."),
    "get": ("address", "Send the value of one address."),
    "ping": ("", "Answer with /pong and the version."),
}
"""Types and descriptions, by address."""


def query_rows(prefix: str) -> Iterator[Row]:
    """Yield the rows of the queries."""
    for name, (types, description) in QUERIES.items():
        yield Row(f"{prefix}/{name}", "in", types, "", description)


class Server(Protocol):
    """The server that the queries are sent to."""

    def current_values(self) -> Sequence[Message]:
        """Return the messages with all current values."""

    def value_of(self, address: str) -> Message | None:
        """Return the message with the value of `address`, None if it has none."""

    def send(self, message: Message, peer: Peer) -> bool:
        """Send `message` to `peer`, unless it may not get so much; return whether so."""

    def is_own(self, peer: Peer) -> bool:
        """Return whether `peer` is the server's own port."""

    def is_proven(self, peer: Peer) -> bool:
        """Return whether the host of `peer` has shown that it receives what is sent to it."""

    def challenge(self, host: str) -> str:
        """Return the text that `host` has to send back for that."""

    def prove(self, host: str, answer: str) -> None:
        """Count `host` as proven, if `answer` is the text that was sent to it."""


class Queries:
    """Answers queries, at the host that asks and nowhere else."""

    def __init__(self, prefix: str, subscribers: Subscribers, server: Server) -> None:
        self._prefix = prefix
        self._subscribers = subscribers
        self._server = server
        self._handlers: dict[str, Callable[[Sequence[Argument], Peer, float], None]] = {
            f"{prefix}/subscribe": self._subscribe,
            f"{prefix}/unsubscribe": self._unsubscribe,
            f"{prefix}/confirm": self._confirm,
            f"{prefix}/sync": self._sync,
            f"{prefix}/get": self._get,
            f"{prefix}/ping": self._ping,
        }

    def __contains__(self, address: str) -> bool:
        return address in self._handlers

    def has_long_answer(self, address: str) -> bool:
        """Return whether the answer is many times as long as the query."""
        return self._handlers[address] in (self._subscribe, self._sync)

    def answer(self, message: Message, peer: Peer, now: float) -> str:
        """Answer the query `message` of `peer`; return what was wrong, if anything."""
        try:
            self._handlers[message.address](message.arguments, peer, now)
        except ParameterError as error:
            return str(error)
        return ""

    def _subscribe(self, arguments: Sequence[Argument], peer: Peer, now: float) -> None:
        subscriber = self._at_port(peer, arguments)
        seconds = parse_number(arguments[1:2]) if len(arguments) > 1 else DEFAULT_SUBSCRIPTION
        if not 0 <= seconds <= LONGEST_SUBSCRIPTION:
            raise ParameterError(
                f"takes seconds from 0 (until unsubscribed) to {LONGEST_SUBSCRIPTION:.0f},"
                f" got {seconds:g}"
            )
        expires = now + seconds if seconds else inf
        proven = self._server.is_proven(subscriber)
        self._subscribers.add(subscriber, expires, now, proven=proven)
        if not proven:
            text = self._server.challenge(subscriber[0])
            self._server.send(Message(f"{self._prefix}/confirm", (text,)), subscriber)
        self._send_all([subscriber])

    def _unsubscribe(self, arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        self._subscribers.remove(self._at_port(peer, arguments))

    def _confirm(self, arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        # A wrong text is not answered: two servers might answer each other for ever.
        if arguments:
            self._server.prove(peer[0], str(arguments[0]))

    def _sync(self, _arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        self._send_all(self._subscribers.at(peer[0]) or [peer])

    def _get(self, arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        wanted = str(arguments[0]) if arguments else ""
        message = self._server.value_of(wanted)
        if message is None:
            raise ParameterError(f'"{wanted[:80]}" has no value to send')
        self._server.send(message, peer)

    def _ping(self, _arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        self._server.send(Message(f"{self._prefix}/pong", (__version__,)), peer)

    def _send_all(self, peers: Sequence[Peer]) -> None:
        messages = self._server.current_values()
        for peer in peers:
            for message in messages:
                if self._server.send(message, peer):
                    self._subscribers.mark_sent(peer, message)

    def _at_port(self, peer: Peer, arguments: Sequence[Argument]) -> Peer:
        """Return `peer` with the port that it names, or with its own."""
        port = parse_number(arguments) if arguments else peer[1]
        if not (FIRST_PORT <= port <= 65535 and port == int(port)):
            raise ParameterError(f"takes a port from {FIRST_PORT} to 65535, got {port:g}")
        if arguments:
            peer = (peer[0], int(port), *(part for part in peer[2:] if part != TCP))
        if self._server.is_own(peer):
            raise ParameterError(f"port {peer[1]} is streamcam's own: name one that you listen to")
        return peer
