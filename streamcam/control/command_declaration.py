"""Declaration of a command: an address that does something besides changing parameters."""

from dataclasses import dataclass

ONLY_READ = "; only read."
"""End of the description of a command that has a value, and takes none."""


@dataclass(frozen=True, slots=True)
class Command:
    """A declared command; its texts are those of a `Row`."""

    types: str
    """number, whole number, 0 or 1, text, trigger, ..."""
    values: str
    """Range or choices."""
    description: str
    unavailable: str
    """Why it is refused, and the remedy, where nothing is bound to it."""
    trigger: bool = False
    """A button: pressing it counts, not releasing it."""
    has_value: bool = False
    """Its value is also sent as feedback."""
    quantised: bool = False
    """It changes what is on air, so it waits for the beat where changes are quantised."""
    choices: tuple[str, ...] = ()
    """The words that it takes, for a menu."""
    fader: tuple[float, float] | None = None
    """The numbers that a fader from 0 to 1 spans, where it takes one."""

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be sent to it; its description ends with saying so."""
        return self.description.endswith(ONLY_READ)
