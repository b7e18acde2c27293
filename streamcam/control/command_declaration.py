"""Declaration of a command: an address that does something besides changing parameters."""

from dataclasses import dataclass


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
    read_only: bool = False
    """It is there for its value alone: nothing can be sent to it."""
    quantised: bool = False
    """It changes what is on air, so it waits for the beat where changes are quantised."""
    choices: tuple[str, ...] = ()
    """The words that it takes, for a menu."""
    fader: tuple[float, float] | None = None
    """The numbers that a fader from 0 to 1 spans, where it takes one."""

    @property
    def shown(self) -> str:
        """Its description, which says so where nothing can be sent to it."""
        if not self.read_only:
            return self.description
        return self.description.removesuffix(".") + "; only read."
