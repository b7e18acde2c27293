"""Limit on new connections: each costs milliseconds of the thread that serves everybody."""

from collections import Counter
from typing import Any

from aioquic.quic.retry import QuicRetryTokenHandler

CONNECTIONS = 30
"""New connections in a second that one address may make."""


class ConnectionLimit(QuicRetryTokenHandler):
    """Lets each address make a few connections a second, and turns away the rest unheard.

    Addresses are true: a client has answered at its own before it is counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._connections: Counter[str] = Counter()

    def validate_token(self, **given: Any) -> Any:
        """Return what a client's token says; raise ValueError for one that is to be turned away."""
        found = super().validate_token(**given)
        second, host = int(given["now"]), str(given["address"][0])
        if second != self._second:
            self._second = second
            self._connections.clear()
        self._connections[host] += 1
        if self._connections[host] > CONNECTIONS:
            raise ValueError("too many connections")
        return found
