"""Access: an allowlist of networks, and a rate limiter of token buckets."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

MAX_HOSTS = 1024
"""Hosts that are remembered at a time."""


class AllowList:
    """Networks whose hosts may send messages."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]
        self.allows = lru_cache(MAX_HOSTS)(self._allows)

    def _allows(self, host: str) -> bool:
        # A link-local address of IPv6 comes with the name of its interface.
        address = ip_address(host.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            return any(address.ipv4_mapped in network for network in self._networks)
        return any(address in network for network in self._networks)


class RateLimiter:
    """Token buckets, one per key: `rate` tokens per second, at most `burst` at once."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, tokens: int = 1) -> bool:
        """Take `tokens` from the bucket of `key`; return False, taking none, if it holds fewer."""
        now = self._clock()
        level, since = self._buckets.get(key, (self._burst, now))
        level = min(self._burst, level + (now - since) * self._rate)
        enough = level >= tokens
        self._buckets[key] = (level - tokens if enough else level, now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > MAX_HOSTS:
            self._buckets.popitem(last=False)
        return enough
