"""Feedback to a controller: faders, rings of lights and pads show the current values."""

from collections.abc import Iterator, Sequence

from streamcam.control.messages import Argument
from streamcam.control.midi.control_targets import Target, Targets
from streamcam.control.midi.controls import Control, Movement
from streamcam.control.midi.mapped_controls import MappedControls, ends_of, is_position
from streamcam.control.midi.mapping import Assignment, PortMapping
from streamcam.control.surface import ControlSurface

HOLD_S = 0.5
"""Seconds after its last movement for which a control is sent nothing: a hand may be on it."""
ECHO_S = 0.03
"""Seconds within which a control that sends what it was sent only repeats that."""
MOTOR_S = 0.3
"""Seconds that a motor takes to move its fader, which may send where it passes."""
SENDABLE = ("cc", "cc14", "nrpn", "note", "pitch")


class ControllerFeedback:
    """The values that one controller shows."""

    def __init__(self, surface: ControlSurface, targets: Targets, controls: MappedControls) -> None:
        self._surface = surface
        self._targets = targets
        self._controls = controls
        self._shown: dict[Control, int] = {}
        """Values of 7 or 14 bits, as the controls have them."""
        self._moved_at: dict[Control, float] = {}
        self._sent_at: dict[Control, float] = {}
        self._channels: dict[Control, int] = {}
        """Channel on which a control without one was moved last."""

    @property
    def is_holding(self) -> bool:
        """Whether a control was moved that is to be sent its value later."""
        return bool(self._moved_at)

    def moved(self, movement: Movement, mapping: PortMapping, now: float) -> None:
        """Note that a control was moved, which may now show something else than its value."""
        for entry, assignment in mapping.find(movement.control):
            if movement.control.channel:
                self._channels[entry] = movement.control.channel
            self._moved_at[entry] = now
            if movement.steps is None and assignment.relative == "off":
                self._shown[entry] = movement.raw
            break

    def is_echo(self, movement: Movement, mapping: PortMapping, now: float) -> bool:
        """Return whether a movement only follows from what the control was sent just now.

        Taken for a movement by hand, it would switch a flag back and forth for ever.
        """
        entry, assignment = next(mapping.find(movement.control), (None, None))
        if entry is None or assignment is None or entry not in self._sent_at:
            return False
        sent_at = self._sent_at[entry]
        if assignment.motor and now - sent_at < MOTOR_S:
            return True
        return now - sent_at < ECHO_S and self._shown.get(entry) == movement.raw

    def clear(self) -> None:
        """Forget what the controls show."""
        self._shown.clear()

    def due(self, mapping: PortMapping, now: float) -> Iterator[tuple[Control, float]]:
        """Yield the controls that show something else than their value, and what they shall show.

        Yields:
            Controls, all with a channel, and positions from 0 to 1.
        """
        for entry, assignments in list(mapping.controls.items()):
            found = self._shown_by(entry, assignments[0], mapping)
            if found is None:
                continue
            share, is_light = found
            moved_at = self._moved_at.get(entry)
            if moved_at is not None and not is_light and now - moved_at < HOLD_S:
                continue
            raw = round(share * (127 if entry.kind in ("cc", "note") else 16383))
            # A button may have changed its light by itself.
            if self._shown.get(entry) == raw and not (is_light and moved_at is not None):
                continue
            self._shown[entry] = raw
            self._sent_at[entry] = now
            if is_light:
                self._moved_at.pop(entry, None)
            channel = entry.channel or self._channels.get(entry, 1)
            yield entry._replace(channel=channel), share
        for entry, moved_at in list(self._moved_at.items()):
            # Unless it was moved again meanwhile, by the thread that applies.
            if now - moved_at >= HOLD_S and self._moved_at.get(entry) == moved_at:
                del self._moved_at[entry]

    def _shown_by(
        self, entry: Control, assignment: Assignment, mapping: PortMapping
    ) -> tuple[float, bool] | None:
        """Return what a control shall show, and whether that is a light; None for nothing."""
        wanted = mapping.settings.feedback if assignment.feedback is None else assignment.feedback
        if not wanted or entry.kind not in SENDABLE:
            return None
        target = self._targets.find(assignment.address)
        if is_position(entry, assignment, target):
            share = self._controls.share_of(target, assignment)
            return None if share is None else (share, False)
        value = self._surface.value_of(target.address)
        if target.kind == "trigger" or (value is None and assignment.value is None):
            return None
        choices = self._targets.choices(target)
        is_on = value is not None and _is_lit(value.arguments[0], target, assignment, choices)
        return (assignment.on if is_on else assignment.off) / 127, True


def _is_lit(
    value: Argument, target: Target, assignment: Assignment, choices: Sequence[str]
) -> bool:
    """Return whether what a button stands for is on."""
    wanted = assignment.value
    if isinstance(wanted, (int, float)) and isinstance(value, str):
        return 0 <= wanted < len(choices) and choices[int(wanted)] == value
    if isinstance(wanted, (int, float)) and isinstance(value, (int, float)):
        return abs(value - wanted) < 1e-6
    if wanted is not None:
        return value == wanted
    if target.kind == "number" and isinstance(value, (int, float)):
        low, high = ends_of(target, assignment)
        return abs(value - high) < abs(value - low)
    return value is True or value == 1
