"""Targets: what a control may change, from the table of addresses."""

import re
from dataclasses import dataclass
from typing import Literal

from streamcam.control.addresses import Address
from streamcam.control.command_declaration import Command
from streamcam.control.midi.controls import Control
from streamcam.control.midi.mapping import Assignment
from streamcam.control.surface import ControlSurface
from streamcam.errors import ConfigError

Kind = Literal["number", "flag", "choice", "trigger", "other"]
SPAN = re.compile(r"(-?[\d.]+(?:e[+-]?\d+)?) – (-?[\d.]+(?:e[+-]?\d+)?)")
KINDS: dict[str, Kind] = {
    "number": "number",
    "whole number": "number",
    "0 or 1": "flag",
    "text or index": "choice",
    "trigger": "trigger",
}
UNBOUNDED = float(2**31 - 1)
"""Upper end of a number without one, as at its ``/norm`` address."""
MAX_UNITS = 10_000
"""Span up to which an encoder steps through whole numbers one by one."""


@dataclass(frozen=True)
class Target:
    """An address that a control can change."""

    name: str
    """Without the prefix, as in files."""
    address: str
    kind: Kind
    norm: str | None = None
    """Address that spans the range of a number from 0 to 1."""
    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    choices: tuple[str, ...] = ()

    @property
    def tick(self) -> float:
        """Distance of one step of an encoder, unless a mapping gives one."""
        span = self.high - self.low
        return 1.0 if self.whole and not MAX_UNITS < span < UNBOUNDED else span / 128


class Targets:
    """The targets of a surface."""

    def __init__(self, surface: ControlSurface) -> None:
        self._surface = surface
        self._found: dict[str, Target] = {}

    def find(self, address: str) -> Target:
        """Return the target at `address`, which may lack the prefix or be an alias.

        Raises:
            ConfigError: there is none.
        """
        if address in self._found:
            return self._found[address]
        surface = self._surface
        for name in (address, f"{surface.prefix}/{address}", surface.prefix + address):
            if found := surface.addresses.find(name):
                return self._found.setdefault(address, self._of(*found))
            if command := surface.addresses.command(name):
                declared = surface.commands.declared[command]
                target = self._of(f"{surface.prefix}/{command}", declared)
                return self._found.setdefault(address, target)
        full = address if address.startswith("/") else f"{surface.prefix}/{address}"
        raise ConfigError(f'there is no "{address:.60}": {surface.addresses.suggest(full)}')

    def check(self, control: Control, assignment: Assignment) -> str:
        """Return the name of the address; raise ConfigError for one `control` cannot change."""
        target = self.find(assignment.address)
        is_program = control.kind == "program" and control.number is None
        if target.kind == "other" and assignment.value is None and not is_program:
            raise ConfigError(
                f"{target.name} takes more than a control sends; give a value that is sent, such as"
                f' {{ address = "{target.name}", value = "…" }}'
            )
        return target.name

    def choices(self, target: Target) -> tuple[str, ...]:
        """Return the words that `target` takes, as they are now."""
        return self._surface.presets.names if target.name == "preset/load" else target.choices

    def _of(self, full: str, entry: Address | Command) -> Target:
        # A fader spans the range of a number by itself.
        if full.endswith("/norm"):
            return self.find(full.removesuffix("/norm"))
        name = full.removeprefix(f"{self._surface.prefix}/")
        kind: Kind = "trigger" if entry.trigger else KINDS.get(entry.types, "other")
        norm = f"{full}/norm" if f"{full}/norm" in self._surface.addresses.known else None
        low, high = _ends(entry) if kind == "number" else (0.0, 1.0)
        if name.endswith("/weight"):
            high = 1.0  # Only the proportions of the weights count.
        choices = _choices(entry) if kind == "choice" and name != "preset/load" else ()
        return Target(name, full, kind, norm, low, high, entry.types == "whole number", choices)


def _ends(entry: Address | Command) -> tuple[float, float]:
    """Return the ends of the range that a fader spans."""
    if entry.fader:
        return entry.fader
    if match := SPAN.search(entry.values):
        return float(match[1]), float(match[2])
    if lowest := re.match(r"from (-?[\d.]+)", entry.values):
        return float(lowest[1]), UNBOUNDED
    return 0.0, 1.0


def _choices(entry: Address | Command) -> tuple[str, ...]:
    if isinstance(entry, Command) and entry.choices:
        return entry.choices
    return tuple(entry.values.split())
