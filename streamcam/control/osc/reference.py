"""The OSC addresses as rows to read: for ``streamcam osc list`` and the docs."""

from collections.abc import Iterator
from typing import NamedTuple

from streamcam.control.osc.addresses import Addresses
from streamcam.control.osc.services import ASKED, TOLD
from streamcam.control.osc.telemetry import STATS


class Row(NamedTuple):
    """One address."""

    address: str
    direction: str
    """in, out, or both: a value that is also told."""
    types: str
    values: str
    description: str


def rows(addresses: Addresses) -> Iterator[Row]:
    """Yield every address, with its prefix."""
    yield from steering(addresses)
    yield from asking(addresses.prefix)
    yield from told(addresses.prefix)


def steering(addresses: Addresses) -> Iterator[Row]:
    """Yield what changes the picture."""
    for name, address in addresses.known.items():
        direction = "both" if address.get else "in"
        yield Row(name, direction, address.types, address.values, address.description)


def asking(prefix: str) -> Iterator[Row]:
    """Yield what clients may ask."""
    for name, (types, description) in ASKED.items():
        yield Row(f"{prefix}/{name}", "in", types, "", description)


def told(prefix: str) -> Iterator[Row]:
    """Yield what only goes out."""
    for name, (types, description) in TOLD.items():
        yield Row(f"{prefix}/{name}", "out", types, "", description)
    for stat in STATS:
        yield Row(f"{prefix}/stat/{stat.name}", "out", stat.types, stat.unit, stat.description)
    yield Row("/server_active", "out", "0 or 1", "", "Whether the engine runs.")
    yield Row("/stream-info/fps", "out", "number", "", f"As {prefix}/stat/fps.")
