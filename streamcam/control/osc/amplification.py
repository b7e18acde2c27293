"""Limit on amplification: little is sent to a host whose address may be forged.

Anyone can send a UDP packet in another host's name, and what it asks for then goes to that host.
So a host that has not shown that it receives gets a small multiple of what it has sent (as in
RFC 9000, section 8.1). It shows it by sending back the text of a challenge, or by a TCP
connection. This machine needs to show nothing, as systems drop what comes in its name from outside.
"""

import hmac
import secrets
from collections import OrderedDict
from contextlib import suppress
from functools import lru_cache

from streamcam.control.osc.sockets import TCP, Peer
from streamcam.limits import MAX_KEYS
from streamcam.system.network import is_own_address

FACTOR = 10
"""Bytes that a host may get for each byte that it has sent."""
MAX_CREDIT = 1 << 16
"""Bytes that a host which keeps sending may get at once."""


class AmplificationLimit:
    """Credit of each host in bytes, and the hosts that need none."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(16)
        self._credit: OrderedDict[str, int] = OrderedDict()
        self._proven: OrderedDict[str, None] = OrderedDict()

    def received(self, peer: Peer, size: int) -> None:
        """Note that `size` bytes came from `peer`."""
        host = peer[0]
        if peer[-1] == TCP:
            self._add_proven(host)
        elif not self.is_proven(peer):
            credit = self._credit.pop(host, 0) + FACTOR * size
            self._credit[host] = min(credit, MAX_CREDIT)
            if len(self._credit) > MAX_KEYS:
                self._credit.popitem(last=False)

    def may_send(self, peer: Peer, size: int) -> bool:
        """Return whether `peer` may get `size` bytes more; if so, they count as sent."""
        if self.is_proven(peer):
            return True
        credit = self._credit.get(peer[0], 0)
        if credit < size:
            return False
        self._credit[peer[0]] = credit - size
        return True

    def is_proven(self, peer: Peer) -> bool:
        """Return whether the host of `peer` has shown that it receives what is sent to it."""
        return peer[-1] == TCP or peer[0] in self._proven or is_this_machine(peer[0])

    def challenge(self, host: str) -> str:
        """Return a text that nobody but `host` can know once it was sent there."""
        return hmac.new(self._secret, host.encode(), "sha256").hexdigest()[:16]

    def prove(self, host: str, answer: str) -> bool:
        """Return whether `answer` is the challenge of `host`, which then is proven."""
        proven = hmac.compare_digest(answer.encode(), self.challenge(host).encode())
        if proven:
            self._add_proven(host)
        return proven

    def _add_proven(self, host: str) -> None:
        self._proven[host] = None
        self._proven.move_to_end(host)
        if len(self._proven) > MAX_KEYS:
            self._proven.popitem(last=False)


def is_this_machine(host: str) -> bool:
    """Return whether the address `host` is one of this machine's, as far as it can tell."""
    with suppress(OSError):
        return _is_own_address(host)
    return False


_is_own_address = lru_cache(MAX_KEYS)(is_own_address)
