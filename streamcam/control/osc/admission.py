"""Admission of packets: from allowed networks, at a limited rate, and not from ourselves."""

import time
from collections import Counter
from collections.abc import Callable

from streamcam.control.osc.access import AllowList
from streamcam.control.osc.floods import FloodDetector, Sender
from streamcam.control.osc.packets import MAX_MESSAGES
from streamcam.control.osc.sockets import TCP, Peer
from streamcam.limits import RateLimiter
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.system.network import is_own_address

BYTES_PER_MESSAGE = 64
"""A longer packet counts as several messages, since reading it takes as long."""
FLOOD = 4
"""A sender of so many times `osc_rate` is left to the system to drop, for some time."""
LEAST_FLOOD = 2000
"""Packets a second of which no fewer are left to the system."""
WARNING_S = 60.0
"""Seconds between two lines about the same host."""
MAX_REFUSED_HOSTS = 64
"""Hosts outside of the allowed networks that are logged, each once."""


class Admission:
    """Decides whether a packet is handled; counts and logs those that are not.

    Args:
        settings: with ``osc_allow`` and ``osc_rate``.
        counts: packets by result, to add to.
        report: takes a line for the log.
    """

    def __init__(
        self, settings: BroadcastSettings, counts: Counter[str], report: Callable[[str], None]
    ) -> None:
        self._counts = counts
        self._report = report
        self._allow_list = AllowList(settings.osc_allow)
        self._rate_limiter = RateLimiter(settings.osc_rate, max(settings.osc_rate, MAX_MESSAGES))
        self._floods = FloodDetector(max(FLOOD * settings.osc_rate, LEAST_FLOOD))
        self._warnings = RateLimiter(1 / WARNING_S, 1)
        self._refused_hosts: set[str] = set()

    def allows(self, host: str) -> bool:
        """Return whether `host` is in an allowed network; one that is not is logged once."""
        if self._allow_list.allows(host):
            return True
        self._counts["not allowed"] += 1
        if host not in self._refused_hosts and len(self._refused_hosts) < MAX_REFUSED_HOSTS:
            self._refused_hosts.add(host)
            allowed = ", ".join(self._allow_list.networks)
            self._report(
                f"OSC from {host} is refused, as it is in no network of osc_allow ({allowed})"
            )
        return False

    def admits(self, packet: bytes, peer: Peer, own_port: int) -> bool:
        """Return whether to handle `packet`; `own_port` is the UDP port that it came to."""
        if not self.allows(peer[0]):
            return False
        if not self._rate_limiter.take(peer[0], _cost(packet)):
            self._count_over_rate(peer)
            return False
        if is_own_port(peer, own_port):
            # Forged, or something that we sent ourselves: nobody else can have that address.
            self._counts["own"] += 1
            return False
        return True

    def admits_messages(self, number: int, packet: bytes, peer: Peer) -> bool:
        """Return whether to handle the `number` of messages that an admitted packet holds."""
        admitted = self._rate_limiter.take(peer[0], max(number - _cost(packet), 0))
        self._counts["over the rate"] += not admitted
        return admitted

    def blocked(self, now: float) -> list[Sender]:
        """Return who sends so much that the system shall drop it."""
        return self._floods.blocked(now)

    def _count_over_rate(self, peer: Peer) -> None:
        self._counts["over the rate"] += 1
        if peer[-1] != TCP:
            self._floods.refused(peer[0], peer[1], time.monotonic())
        if self._warnings.take(peer[0]):
            self._report(f"OSC from {peer[0]}: more messages than osc_rate allows; some are lost")


def is_own_port(peer: Peer, own_port: int) -> bool:
    """Return whether `peer` is the UDP port `own_port` of this machine."""
    if peer[1] != own_port or peer[-1] == TCP:
        return False
    try:
        return is_own_address(peer[0])
    except OSError:
        # Where the system cannot say, losing a packet is better than obeying ourselves.
        return True


def _cost(packet: bytes) -> int:
    """Return the number of messages of usual length that a packet counts as."""
    return max(1, len(packet) // BYTES_PER_MESSAGE)
