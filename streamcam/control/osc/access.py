"""Who is heard, and how often: networks and token buckets."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

HOSTS_KEPT = 1024


class Gate:
    """Lets in the hosts of some networks."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]
        self.allows = lru_cache(HOSTS_KEPT)(self._allows)

    def _allows(self, host: str) -> bool:
        # A link-local address of IPv6 comes with the name of its interface.
        address = ip_address(host.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            return any(address.ipv4_mapped in network for network in self._networks)
        return any(address in network for network in self._networks)


class Buckets:
    """Gives everyone so many tokens per second, and at most `burst` at once."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, who: Hashable, tokens: int = 1) -> bool:
        """Take `tokens` of those that `who` has left; return False, taking none, if too few."""
        now = self._clock()
        level, since = self._levels.get(who, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        enough = level >= tokens
        self._levels[who] = (level - tokens if enough else level, now)
        self._levels.move_to_end(who)
        if len(self._levels) > HOSTS_KEPT:
            self._levels.popitem(last=False)
        return enough
