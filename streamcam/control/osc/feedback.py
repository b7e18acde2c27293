"""Who is told what changes, and what each of them has been told already."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from streamcam.control.osc.packets import Argument, Message
from streamcam.errors import ParameterError

Peer = tuple[Any, ...]
"""A socket's address: host, port, and what IPv6 adds, or that it is a connection."""
TCP = "tcp"

MAX_SUBSCRIBERS = 32
HOLD = 0.3
"""Seconds for which a control that is moved is not told of its own value."""
GONE_AFTER = 10.0
"""Seconds of refusals after which a port is given up."""
REFUSAL_LASTS = 5.0
"""Seconds without a refusal after which a port counts as back."""


@dataclass
class Subscriber:
    """Somebody who is told."""

    expires: float
    """Monotonic seconds; infinite until unsubscribed."""
    told: dict[str, tuple[Argument, ...]] = field(default_factory=dict)
    """What was sent last, by address."""
    refused: tuple[float, float] | None = None
    """When the port's refusals began, and the last of them."""


class Subscribers:
    """Those who are told, at most `MAX_SUBSCRIBERS`."""

    def __init__(self) -> None:
        self._all: dict[Peer, Subscriber] = {}
        self._held: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, peer: Peer, expires: float) -> None:
        """Begin to tell `peer`, or go on until `expires`, from the beginning.

        Raises:
            ParameterError: there are too many already.
        """
        if peer not in self._all and len(self._all) >= MAX_SUBSCRIBERS:
            raise ParameterError(f"there are {MAX_SUBSCRIBERS} subscribers already")
        self._all[peer] = Subscriber(expires)

    def remove(self, peer: Peer) -> None:
        self._all.pop(peer, None)

    def at(self, host: str) -> list[Peer]:
        """Return the subscribers of one host."""
        return [peer for peer in self._all if peer[0] == host]

    def peers(self, now: float) -> list[Peer]:
        """Return all of them, having forgotten those whose time is over."""
        self._all = {peer: s for peer, s in self._all.items() if s.expires > now}
        return list(self._all)

    def moved(self, host: str, address: str, now: float) -> None:
        """Spare `host` its own value at `address` while it moves."""
        if self.at(host):
            self._held[host, address] = now + HOLD

    def clamped(self, host: str, address: str) -> None:
        """Tell `host` what `address` holds, even if that has not changed."""
        self._held.pop((host, address), None)
        for peer in self.at(host):
            self._all[peer].told.pop(address, None)

    def has_been_told(self, peer: Peer, messages: Iterable[Message]) -> None:
        """Note that `peer` was sent all of `messages`, beside the news."""
        if peer in self._all:
            self._all[peer].told.update(messages)

    @property
    def holding(self) -> bool:
        """Whether something is still to be told when a control has come to rest."""
        return bool(self._held)

    def news(self, messages: Iterable[Message], now: float) -> Iterator[tuple[Peer, Message]]:
        """Yield what is new to whom, and note it as told."""
        self._held = {what: until for what, until in self._held.items() if until > now}
        messages = list(messages)
        for peer in self.peers(now):
            told = self._all[peer].told
            for message in messages:
                address, arguments = message
                if told.get(address) != arguments and (peer[0], address) not in self._held:
                    told[address] = arguments
                    yield peer, message

    def refused(self, peer: Peer, now: float) -> None:
        """Note that nobody listens at `peer`, and give it up when that has lasted."""
        subscriber = self._all.get(peer)
        if subscriber is None:
            return
        first, last = subscriber.refused or (now, now)
        if now - last > REFUSAL_LASTS:
            first = now
        subscriber.refused = (first, now)
        if now - first >= GONE_AFTER:
            self.remove(peer)
