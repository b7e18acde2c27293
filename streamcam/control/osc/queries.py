"""Queries: messages that ask to subscribe, for current values, or for a sign of life."""

from collections.abc import Callable, Iterator, Sequence
from math import inf

from streamcam.control.osc.addresses import Row
from streamcam.control.osc.feedback import Subscribers
from streamcam.control.osc.packets import Argument, Message
from streamcam.control.osc.ports import TCP, Peer
from streamcam.control.osc.values import parse_number
from streamcam.errors import ParameterError
from streamcam.version import __version__

DEFAULT_SUBSCRIPTION = 600.0
"""Seconds."""
LONGEST_SUBSCRIPTION = 7 * 24 * 3600.0

QUERIES = {
    "subscribe": (
        "port, seconds",
        "Send what changes to a port of the asking host (its own by default), for 600 seconds or"
        " as many as given; 0 is until unsubscribed.",
    ),
    "unsubscribe": ("port", "Send no more."),
    "sync": ("", "Send every value."),
    "get": ("address", "Send the value of one address."),
    "ping": ("", "Answer with /pong and the version."),
}
"""Types and descriptions, by address."""


def query_rows(prefix: str) -> Iterator[Row]:
    """Yield the rows of the queries."""
    for name, (types, description) in QUERIES.items():
        yield Row(f"{prefix}/{name}", "in", types, "", description)


class Queries:
    """Answers queries, at the host that asks and nowhere else."""

    def __init__(
        self,
        prefix: str,
        subscribers: Subscribers,
        current: Callable[[], Sequence[Message]],
        send: Callable[[Message, Peer], None],
    ) -> None:
        """Prepare to answer.

        Args:
            prefix: beginning of every address.
            subscribers: table to add subscribers to.
            current: returns the messages with all current values.
            send: sends a message to a peer.
        """
        self._prefix = prefix
        self._subscribers = subscribers
        self._current = current
        self._send = send
        self._handlers: dict[str, Callable[[Sequence[Argument], Peer, float], None]] = {
            f"{prefix}/subscribe": self._subscribe,
            f"{prefix}/unsubscribe": self._unsubscribe,
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
        subscriber = _at_port(peer, arguments)
        seconds = parse_number(arguments[1:2]) if len(arguments) > 1 else DEFAULT_SUBSCRIPTION
        if seconds < 0:
            raise ParameterError(f"takes seconds from 0, got {seconds:g}")
        expires = now + min(seconds, LONGEST_SUBSCRIPTION) if seconds else inf
        self._subscribers.add(subscriber, expires)
        self._send_all([subscriber])

    def _unsubscribe(self, arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        self._subscribers.remove(_at_port(peer, arguments))

    def _sync(self, _arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        self._send_all(self._subscribers.at(peer[0]) or [peer])

    def _get(self, arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        wanted = str(arguments[0]) if arguments else ""
        matching = [m for m in self._current() if m.address in (wanted, self._prefix + wanted)]
        if not matching:
            raise ParameterError(f'"{wanted[:80]}" has no value to send')
        self._send(matching[0], peer)

    def _ping(self, _arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        self._send(Message(f"{self._prefix}/pong", (__version__,)), peer)

    def _send_all(self, peers: Sequence[Peer]) -> None:
        messages = self._current()
        for peer in peers:
            self._subscribers.mark_sent(peer, messages)
            for message in messages:
                self._send(message, peer)


def _at_port(peer: Peer, arguments: Sequence[Argument]) -> Peer:
    """Return `peer` with the port that it names, or with its own."""
    if not arguments:
        return peer
    port = round(parse_number(arguments))
    if not 1 <= port <= 65535:
        raise ParameterError(f"takes a port from 1 to 65535, got {port}")
    return (peer[0], port, *(part for part in peer[2:] if part != TCP))
