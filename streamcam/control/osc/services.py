"""What clients may ask: to be told, to be told everything, whether anybody is there."""

from collections.abc import Callable, Sequence
from math import inf

from streamcam.control.osc.feedback import TCP, Peer, Subscribers
from streamcam.control.osc.packets import Argument, Message
from streamcam.control.osc.values import number
from streamcam.errors import ParameterError
from streamcam.version import __version__

USUAL = 600.0
"""Seconds that a subscription lasts."""
LONGEST = 7 * 24 * 3600.0

ASKED = {
    "subscribe": ("port, seconds", "Be told what changes, at a port of the asking host (its own by"
                  " default), for 600 seconds or as many as given; 0 is until unsubscribed."),
    "unsubscribe": ("port", "Be told no longer."),
    "sync": ("", "Be told everything."),
    "get": ("address", "Be told what one address holds."),
    "ping": ("", "Be answered with /pong and the version."),
}  # fmt: skip
"""The service addresses: what they take and do."""

TOLD = {
    "error": ("address, text", "What was wrong with a message, to its sender and the subscribers"
              " of the same host."),
    "pong": ("text", "The version, in answer to /ping."),
    "preset/names": ("texts", "The presets there are."),
}  # fmt: skip
"""What only goes out, beside the figures."""


class Services:
    """Answers whoever asks, at the host that asks and nowhere else."""

    def __init__(
        self,
        prefix: str,
        subscribers: Subscribers,
        current: Callable[[], Sequence[Message]],
        send: Callable[[Message, Peer], None],
    ) -> None:
        self._prefix = prefix
        self._subscribers = subscribers
        self._current = current
        self._send = send
        self._asked: dict[str, Callable[[Sequence[Argument], Peer, float], None]] = {
            f"{prefix}/subscribe": self._subscribe,
            f"{prefix}/unsubscribe": self._unsubscribe,
            f"{prefix}/sync": self._sync,
            f"{prefix}/get": self._get,
            f"{prefix}/ping": self._ping,
        }

    def serves(self, address: str) -> bool:
        return address in self._asked

    def is_ours(self, address: str) -> bool:
        """Return whether `address` only ever goes out."""
        name = address.removeprefix(f"{self._prefix}/")
        return name in TOLD or name.startswith("stat/")

    def costs(self, address: str) -> bool:
        """Return whether the answer is many times as long as the question."""
        return self._asked[address] in (self._subscribe, self._sync)

    def __call__(self, message: Message, peer: Peer, now: float) -> str:
        """Do what `message` from `peer` asks for; return what was wrong, if anything."""
        try:
            self._asked[message.address](message.arguments, peer, now)
        except ParameterError as error:
            return str(error)
        return ""

    def _subscribe(self, arguments: Sequence[Argument], peer: Peer, now: float) -> None:
        to = _at_port(peer, arguments)
        seconds = number(arguments[1:2]) if len(arguments) > 1 else USUAL
        if seconds < 0:
            raise ParameterError(f"takes seconds from 0, got {seconds:g}")
        self._subscribers.add(to, now + min(seconds, LONGEST) if seconds else inf)
        self._tell_all([to])

    def _unsubscribe(self, arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        self._subscribers.remove(_at_port(peer, arguments))

    def _sync(self, _arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        self._tell_all(self._subscribers.at(peer[0]) or [peer])

    def _get(self, arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        wanted = str(arguments[0]) if arguments else ""
        found = [m for m in self._current() if m.address in (wanted, self._prefix + wanted)]
        if not found:
            raise ParameterError(f'"{wanted[:80]}" holds nothing that can be told')
        self._send(found[0], peer)

    def _ping(self, _arguments: Sequence[Argument], peer: Peer, _now: float) -> None:
        self._send(Message(f"{self._prefix}/pong", (__version__,)), peer)

    def _tell_all(self, peers: Sequence[Peer]) -> None:
        messages = self._current()
        for peer in peers:
            self._subscribers.has_been_told(peer, messages)
            for message in messages:
                self._send(message, peer)


def _at_port(peer: Peer, arguments: Sequence[Argument]) -> Peer:
    """Return the address of `peer` at the port that it names, or its own."""
    if not arguments:
        return peer
    port = round(number(arguments))
    if not 1 <= port <= 65535:
        raise ParameterError(f"takes a port from 1 to 65535, got {port}")
    return (peer[0], port, *(part for part in peer[2:] if part != TCP))
