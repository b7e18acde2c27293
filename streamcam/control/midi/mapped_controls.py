"""Mapped controls: movements become messages, so that no value ever jumps to a fader."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streamcam.control.messages import Argument, Message
from streamcam.control.midi.control_targets import Target, Targets
from streamcam.control.midi.controls import Control, Movement
from streamcam.control.midi.mapping import Assignment, PortMapping
from streamcam.control.midi.relative_encoders import StepDecoder
from streamcam.control.surface import ControlSurface

NEAR = 1.5 / 127
"""Distance from the current value at which a fader picks it up."""
PRESSED = 0.5
FROM_ONE = ("cue/jump",)
"""Addresses whose numbers begin at 1, where those of programs begin at 0."""
MAX_PRESSES = 16
"""Presses of one button that count in one batch; only a fault sends more."""


@dataclass
class ControlState:
    """State of one control at one address."""

    share: float | None = None
    """Its last position."""
    sent: float | None = None
    """The position that was sent last; a change that waits for the beat takes effect later."""
    result: float | None = None
    """The value that it set last, as a share; another one was set by another client."""
    exact: float = 0.0
    """The value that an encoder has reached, before it is rounded."""
    steps: StepDecoder | None = None
    is_on: bool = False
    """State of a button at an address without a value."""


@dataclass
class _Batch:
    """Messages of one batch, and the states to read the resulting values into."""

    messages: list[Message] = field(default_factory=list)
    moved: list[tuple[ControlState, Target, Assignment]] = field(default_factory=list)
    values: dict[str, Argument] = field(default_factory=dict)
    """Values that the messages will have set, by address."""

    def set(self, address: str, value: Argument) -> None:
        self.messages.append(Message(address, (value,)))
        self.values[address] = value


class MappedControls:
    """The mapped controls of one port."""

    def __init__(self, surface: ControlSurface, targets: Targets) -> None:
        self._surface = surface
        self._targets = targets
        self._states: dict[tuple[Control, Assignment], ControlState] = {}

    def apply(
        self, movements: Iterable[Movement], mapping: PortMapping, source: object
    ) -> Sequence[tuple[str, str]]:
        """Apply the movements of a batch as one packet; of a fader only the last one counts.

        Returns:
            Addresses that were refused, and why.
        """
        batch = _Batch()
        paths: dict[tuple[Control, Assignment], list[float]] = {}
        steps: dict[tuple[Control, Assignment], int] = {}
        presses: dict[tuple[Control, Assignment], int] = {}
        for movement in movements:
            for entry, assignment in mapping.find(movement.control):
                key = (movement.control, assignment)
                target = self._targets.find(assignment.address)
                if movement.steps is not None or assignment.relative != "off":
                    steps[key] = steps.get(key, 0) + self._steps(key, movement)
                elif is_position(movement.control, assignment, target):
                    if movement.control.kind != "note" or movement.raw:
                        paths.setdefault(key, []).append(movement.share)
                else:
                    presses[key] = presses.get(key, 0) + 1
                    if presses[key] <= MAX_PRESSES:
                        self._press(key, entry, movement, target, batch)
        for key, path in paths.items():
            self._move(key, path, mapping, batch)
        for key, count in steps.items():
            self._step(key, count, batch)
        if not batch.messages:
            return ()
        outcome = self._surface.apply(batch.messages, source)
        for state, target, assignment in batch.moved:
            state.result = self.share_of(target, assignment)
        return outcome.refused

    def share_of(self, target: Target, assignment: Assignment) -> float | None:
        """Return the current value of a number or choice as a share of its range, None if unset."""
        value = self._value(target)
        if isinstance(value, str):
            choices = self._targets.choices(target)
            return choices.index(value) / max(len(choices) - 1, 1) if value in choices else None
        if value is None:
            return None
        low, high = ends_of(target, assignment)
        return min(max((float(value) - low) / (high - low), 0.0), 1.0)

    def _value(self, target: Target, batch: _Batch | None = None) -> Argument:
        if batch and target.address in batch.values:
            return batch.values[target.address]
        found = self._surface.value_of(target.address)
        return found.arguments[0] if found else None

    def _state(self, key: tuple[Control, Assignment]) -> ControlState:
        return self._states.setdefault(key, ControlState())

    def _steps(self, key: tuple[Control, Assignment], movement: Movement) -> int:
        if movement.steps is not None:
            return movement.steps
        state = self._state(key)
        state.steps = state.steps or StepDecoder(key[1].relative)
        return state.steps.steps(movement.raw)

    def _press(
        self,
        key: tuple[Control, Assignment],
        entry: Control,
        movement: Movement,
        target: Target,
        batch: _Batch,
    ) -> None:
        """Take a press or release of a button or pad, or a program change."""
        assignment, state = key[1], self._state(key)
        was_down = (state.share or 0.0) >= PRESSED
        state.share = movement.share
        if movement.control.kind in ("note", "program"):
            # Each of them is a press, and how hard a pad is hit does not matter.
            down, was_down = movement.share > 0, False
        else:
            down = movement.share >= PRESSED
        is_pressed = down and not was_down
        if assignment.value is not None:
            if is_pressed:
                batch.set(target.address, assignment.value)
        elif target.kind == "trigger":
            if is_pressed:
                batch.messages.append(Message(target.address, (True,)))
        elif movement.control.kind == "program" and entry.number is None:
            batch.set(target.address, movement.raw + _offset(target, assignment))
        elif assignment.mode == "follow":
            batch.set(target.address, self._switched(target, assignment, on=down))
        elif is_pressed:
            batch.set(target.address, self._toggled(target, assignment, state, batch))

    def _toggled(
        self, target: Target, assignment: Assignment, state: ControlState, batch: _Batch
    ) -> Argument:
        """Return the other value of a flag or number, or the next choice."""
        value = self._value(target, batch)
        if target.kind == "choice":
            choices = self._targets.choices(target)
            place = choices.index(value) if value in choices else -1
            return choices[(place + 1) % len(choices)] if choices else 0
        if target.kind == "flag":
            state.is_on = not (state.is_on if value is None else bool(value))
            return state.is_on
        low, high = ends_of(target, assignment)
        is_on = isinstance(value, (int, float)) and abs(value - high) < abs(value - low)
        return self._switched(target, assignment, on=not is_on)

    def _switched(self, target: Target, assignment: Assignment, *, on: bool) -> Argument:
        if target.kind != "number":
            return on
        low, high = ends_of(target, assignment)
        return high if on else low

    def _move(
        self,
        key: tuple[Control, Assignment],
        path: Sequence[float],
        mapping: PortMapping,
        batch: _Batch,
    ) -> None:
        """Set a number or choice to where a fader's path ends, once that has picked it up."""
        control, assignment = key
        state, target = self._state(key), self._targets.find(assignment.address)
        share = path[-1]
        previous, state.share = state.share, share
        pickup = mapping.settings.pickup if assignment.pickup is None else assignment.pickup
        if pickup and not assignment.motor and control.kind != "note":
            current = self.share_of(target, assignment)
            is_ours = current is None or current == state.result
            if state.sent is not None:
                is_ours |= self._picks_up(target, [state.sent], current)
            path = path if previous is None else [previous, *path]
            if not is_ours and not self._picks_up(target, path, current):
                return
        state.sent = share
        batch.moved.append((state, target, assignment))
        if target.kind == "choice":
            choices = self._targets.choices(target)
            batch.set(target.address, round(share * (len(choices) - 1)))
        elif target.norm and assignment.range is None:
            batch.set(target.norm, share)
        else:
            low, high = ends_of(target, assignment)
            batch.set(target.address, low + share * (high - low))

    def _picks_up(self, target: Target, path: Sequence[float], current: float | None) -> bool:
        """Return whether a fader's path reaches or crosses the current value."""
        if current is None:
            return True
        near = NEAR
        if target.kind == "choice":
            near = 0.5 / max(len(self._targets.choices(target)) - 1, 1)
        return min(path) <= current <= max(path) or abs(path[-1] - current) <= near

    def _step(self, key: tuple[Control, Assignment], count: int, batch: _Batch) -> None:
        """Move a value by the steps of an encoder."""
        assignment = key[1]
        state, target = self._state(key), self._targets.find(assignment.address)
        if count == 0:
            return
        if assignment.value is not None:
            if count > 0:
                batch.set(target.address, assignment.value)
            return
        if target.kind == "trigger":
            if count > 0:
                batch.messages.append(Message(target.address, (True,)))
            return
        if target.kind in ("flag", "other"):
            batch.set(target.address, count > 0)
            return
        value = self._value(target, batch)
        if target.kind == "choice":
            choices = self._targets.choices(target)
            place = choices.index(value) if value in choices else -1
            batch.set(target.address, min(max(place + count, 0), len(choices) - 1))
            return
        low, high = ends_of(target, assignment)
        current = float(value) if isinstance(value, (int, float)) else (low + high) / 2
        is_ours = state.result is not None and self.share_of(target, assignment) == state.result
        start = state.exact if is_ours else current
        step = assignment.step or (target.tick if assignment.range is None else (high - low) / 128)
        moved = start + count * abs(step) * (-1 if low > high else 1)
        # A value beyond what a fader spans was set by number: it is left there, not pulled in.
        state.exact = min(max(moved, min(low, high, start)), max(low, high, start))
        batch.set(target.address, round(state.exact) if target.whole else state.exact)
        batch.moved.append((state, target, assignment))


def _offset(target: Target, assignment: Assignment) -> int:
    if assignment.offset is None:
        return 1 if target.name in FROM_ONE else 0
    return assignment.offset


def is_position(control: Control, assignment: Assignment, target: Target) -> bool:
    """Return whether a control sets a value by its position, rather than by being pressed."""
    if assignment.value is not None or target.kind not in ("number", "choice"):
        return False
    if control.kind == "note":
        return assignment.velocity
    return control.kind != "program" and assignment.mode != "toggle"


def ends_of(target: Target, assignment: Assignment) -> tuple[float, float]:
    return assignment.range or (target.low, target.high)
