"""Replies: what was wrong with messages, sent to their senders and logged, at a limited rate."""

from collections.abc import Callable

from streamcam.control.messages import Message
from streamcam.control.osc.feedback import Subscribers
from streamcam.control.osc.sockets import Peer
from streamcam.errors import printable
from streamcam.limits import RateLimiter

REPLIES_PER_SECOND = 5
REPLIES_AT_ONCE = 20
MAX_FOREIGN = 256
"""Addresses of other programs that are remembered: some send all they have, at every frame."""


class Replies:
    """Sends errors and warnings to a sender and the subscribers of the same host.

    Args:
        prefix: beginning of every address.
        subscribers: those who may be at the same host.
        send: sends a message to a peer.
        report: takes a line for the log.
    """

    def __init__(
        self,
        prefix: str,
        subscribers: Subscribers,
        send: Callable[[Message, Peer], object],
        report: Callable[[str], None],
    ) -> None:
        self._prefix = prefix
        self._subscribers = subscribers
        self._send = send
        self._report = report
        self._limiter = RateLimiter(REPLIES_PER_SECOND, REPLIES_AT_ONCE)
        self._foreign: set[str] = set()

    def error(self, peer: Peer, address: str, reason: str, *, log_it: bool = True) -> None:
        """Reply that a message to `address` was refused."""
        if self._limiter.take(peer[0]):
            self._reply("error", peer, address, reason, log_it=log_it)

    def warning(self, peer: Peer, address: str, text: str) -> None:
        """Reply that a message to `address` was applied in part."""
        if self._limiter.take(peer[0]):
            self._reply("warning", peer, address, text)

    def foreign(self, peer: Peer, address: str, reason: Callable[[], str]) -> None:
        """Reply that a message was not understood: one for another program only once.

        Args:
            peer: the sender.
            address: of the message.
            reason: called only if the reply is sent.
        """
        if self._is_worth_a_reply(address) and self._limiter.take(peer[0]):
            self._reply("error", peer, address, reason())

    def _is_worth_a_reply(self, address: str) -> bool:
        if address.startswith(f"{self._prefix}/"):
            return True
        if address in self._foreign or len(self._foreign) >= MAX_FOREIGN:
            return False
        self._foreign.add(address)
        return True

    def _reply(
        self, kind: str, peer: Peer, address: str, text: str, *, log_it: bool = True
    ) -> None:
        if log_it:
            # Bytes from strangers must not move the cursor of our terminal.
            self._report(f"OSC from {peer[0]}: {printable(f'{address} {text}'[:300]).strip()}")
        message = Message(f"{self._prefix}/{kind}", (address[:100], text[:300]))
        for receiver in {peer, *self._subscribers.at(peer[0])}:
            self._send(message, receiver)
