"""The OSC addresses as rows to read: for ``streamcam osc list`` and the docs."""

from collections.abc import Iterator
from typing import NamedTuple

from streamcam.control.addresses import Addresses
from streamcam.control.services import ASKED, TOLD
from streamcam.control.telemetry import STATS


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
    for name, address in addresses.known.items():
        direction = "both" if address.get else "in"
        yield Row(name, direction, address.types, address.values, address.description)
    for name, (types, description) in ASKED.items():
        yield Row(f"{addresses.prefix}/{name}", "in", types, "", description)
    for name, (types, description) in TOLD.items():
        yield Row(f"{addresses.prefix}/{name}", "out", types, "", description)
    for stat in STATS:
        yield Row(f"{addresses.prefix}/stat/{stat.name}", "out", "", stat.unit, stat.description)
    yield Row("/server_active", "out", "0 or 1", "", "Whether the engine runs.")
    yield Row("/stream-info/fps", "out", "number", "", f"As {addresses.prefix}/stat/fps.")
