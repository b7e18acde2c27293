"""Access: an allowlist of networks."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

MAX_HOSTS = 1024
"""Hosts that are remembered at a time."""


class AllowList:
    """Networks whose hosts may send messages."""

    def __init__(self, networks: Sequence[str]) -> None:
        self.networks = tuple(networks)
        self._networks = [ip_network(network, strict=False) for network in networks]
        self.allows = lru_cache(MAX_HOSTS)(self._allows)

    def _allows(self, host: str) -> bool:
        # A link-local address of IPv6 comes with the name of its interface.
        address = ip_address(host.partition("%")[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            return any(address.ipv4_mapped in network for network in self._networks)
        return any(address in network for network in self._networks)
