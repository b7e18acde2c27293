"""Mapping: which control of a MIDI device changes which address, and how."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator

from streamcam.control.midi.controls import Control
from streamcam.settings.base import Settings

Value = str | bool | int | float | None
"""Sent by a button; None where a control sends what it has."""
Level = Annotated[int, Field(ge=0, le=127)]


class Assignment(Settings):
    """The address that a control changes, and how; one value of the table ``[controls]``."""

    address: str
    value: Value = None
    """Sent when the button is pressed, instead of what the control would send."""
    mode: Literal["auto", "toggle", "follow"] = "auto"
    """A press changes a value, or it is on as long as the button is down.

    By default buttons and flags toggle, while controllers set numbers and choices by position.
    """
    range: tuple[float, float] | None = None
    """Values at the two ends, in the unit of the address; the first may be the larger one."""
    relative: Literal["off", "auto", "twos-complement", "offset", "sign-bit"] = "off"
    """Encoding of the steps of an encoder without ends."""
    step: float | None = Field(default=None, gt=0)
    """How far a step of an encoder goes, in the unit of the address."""
    pickup: bool | None = None
    """Move nothing until the control has reached the current value."""
    motor: bool = False
    """It is moved by feedback, so that it needs no pick-up."""
    feedback: bool | None = None
    """Send the current value to the control when another client changes it."""
    velocity: bool = False
    """A note sets how hard it is hit, rather than acting as a button."""
    on: Level = 127
    """Sent to a button, as colour or brightness, while what it stands for is on."""
    off: Level = 0
    """Sent to a button while it is off."""
    offset: int | None = None
    """Added to the number of a program change; by default so that 0 is the first."""

    @field_validator("range")
    @classmethod
    def _two_ends(cls, ends: tuple[float, float] | None) -> tuple[float, float] | None:
        if ends and ends[0] == ends[1]:
            raise ValueError("the two ends must differ")
        return ends


class PortSettings(Settings):
    """The settings of a file besides its controls."""

    port: str = ""
    """Part of the name of the ports that the file is for."""
    pickup: bool = True
    feedback: bool = True
    programs: str = "preset/load"
    """Address that program changes without a mapping of their own set; empty for none."""


@dataclass(frozen=True)
class PortMapping:
    """All mappings of one port."""

    settings: PortSettings
    controls: Mapping[Control, tuple[Assignment, ...]]

    def find(self, control: Control) -> Iterator[tuple[Control, Assignment]]:
        """Yield the mappings of a control that was moved, with the entries that name it.

        One for its channel comes before one for any channel, and hides that.
        """
        exact = control in self.controls
        entry = control if exact else control._replace(channel=None)
        if entry not in self.controls and control.kind == "program":
            entry = next((c for c in _programs(control) if c in self.controls), entry)
        if entry in self.controls:
            for assignment in self.controls[entry]:
                yield entry, assignment
        elif control.kind == "program" and self.settings.programs:
            yield Control("program"), Assignment(address=self.settings.programs)

    def with_(self, control: Control, assignment: Assignment) -> "PortMapping":
        """Return this with `control` mapped to one address, and no other control to that."""
        controls = dict(self.without(assignment.address, assignment.value).controls)
        return PortMapping(self.settings, controls | {control: (assignment,)})

    def without(self, address: str, value: Value = None) -> "PortMapping":
        """Return this without the mappings to `address`; with a `value` only those that send it."""
        controls = {}
        for control, assignments in self.controls.items():
            left = tuple(
                a for a in assignments if a.address != address or value not in (None, a.value)
            )
            if left:
                controls[control] = left
        return PortMapping(self.settings, controls)


def _programs(control: Control) -> Iterator[Control]:
    """Yield the entries for any program that a program change falls under."""
    yield Control("program", None, control.channel)
    yield Control("program")
