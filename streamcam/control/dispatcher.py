"""Dispatcher: applies the messages of one packet as one change of the parameters."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamcam.control.addresses import Address, Addresses
from streamcam.control.commands import BoundCommands
from streamcam.control.messages import Argument, Message
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Changes, Control, Fade
from streamcam.control.transaction import Transaction
from streamcam.control.values import parse_flag
from streamcam.errors import ParameterError, StreamcamError
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters

MAX_BUTTONS = 4096
"""Buttons that are remembered at a time."""


@dataclass
class Outcome:
    """The addresses in one packet, sorted by result; full names but for the unknown ones."""

    applied: list[str] = field(default_factory=list)
    clamped: list[str] = field(default_factory=list)
    """Out of range, so the nearest possible value was applied."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Addresses and reasons."""
    unknown: list[str] = field(default_factory=list)
    warnings: list[tuple[str, str]] = field(default_factory=list)
    """Addresses of what was applied in part, and what was left out."""


Hold = Callable[[Mapping[str, Message]], None]
"""Takes messages by address, to be applied later with `HELD` as their source.

It raises StreamcamError where it cannot.
"""
HELD = "held"
"""Source of messages that have waited: their buttons have been pressed before."""


class Change(NamedTuple):
    """A message that changes parameters."""

    name: str
    address: Address
    arguments: tuple[Argument, ...]


class Dispatcher:
    """Applies messages to the live parameters."""

    def __init__(
        self,
        control: Control,
        config: Config,
        addresses: Addresses,
        presets: PresetBank,
        commands: BoundCommands | None = None,
    ) -> None:
        self._control = control
        self._bound = commands or BoundCommands()
        self._config = config
        self._addresses = addresses
        self._presets = presets
        self._buttons = Buttons()

    def apply(self, messages: Sequence[Message], source: Any, hold: Hold | None = None) -> Outcome:
        """Apply `messages` in their order as one change; a refused one does not hinder the rest.

        A command among them divides the change in two: it acts on what comes before it.

        Args:
            messages: those of one packet.
            source: their sender, as each sender's buttons are tracked separately.
            hold: takes those that are quantised; by default they are applied too.
        """
        outcome, held = Outcome(), dict[str, Message]()
        wanted, later = list[Change](), list[Change]()
        for change in self._changes(messages, source, outcome, None if hold is None else held):
            if change is None:
                # A command acts on what the messages before it have set: it may save that.
                if wanted:
                    self._update(wanted, outcome)
                wanted = []
            elif hold and change.address.quantised:
                later.append(change)
            else:
                wanted.append(change)
        if wanted:
            self._update(wanted, outcome)
        if hold and held:
            self._hold(later, held, hold, outcome)
        return outcome

    def _hold(
        self, changes: Sequence[Change], held: dict[str, Message], hold: Hold, outcome: Outcome
    ) -> None:
        """Hand `held`, among it the messages of `changes`, to `hold`, unless it is refused now."""
        current, refused = self._presets.current, len(outcome.refused)
        self._collect(self._control.target, changes, outcome, strict=True)
        self._presets.current = current
        for address, _ in outcome.refused[refused:]:
            held.pop(address, None)
        try:
            if held:
                hold(held)
        except StreamcamError as error:
            outcome.applied = [name for name in outcome.applied if name not in held]
            outcome.clamped = [name for name in outcome.clamped if name not in held]
            outcome.refused += [(name, str(error)) for name in held]

    def _update(self, wanted: Sequence[Change], outcome: Outcome) -> None:
        """Apply changes as one; where they contradict each other, those that can be."""
        done = list(outcome.applied), list(outcome.clamped), list(outcome.warnings)
        before = (list(outcome.refused), self._presets.current)
        try:
            self._control.update(
                lambda target: self._collect(target, wanted, outcome, strict=False)
            )
        except ParameterError:
            # One contradicts another, or the number of steps: check each of them on its own.
            outcome.refused, self._presets.current = before
            outcome.applied, outcome.clamped, outcome.warnings = done
            self._control.update(lambda target: self._collect(target, wanted, outcome, strict=True))
        self._control.preset = self._presets.current

    def _run(
        self,
        name: str,
        message: Message,
        source: Any,
        outcome: Outcome,
        held: dict[str, Message] | None,
    ) -> None:
        """Run a command, or hold it if it is quantised; that of a button only if it is pressed."""
        command = self._bound.declared[name]
        try:
            if command.trigger and not self._buttons.press((source, name), message.arguments):
                return
            if held is not None and command.quantised and self._bound.is_bound(name):
                _add_held(held, message.address, message.arguments, pressed=command.trigger)
            else:
                self._bound.run(name, message.arguments)
            outcome.applied.append(message.address)
        except ParameterError as error:
            outcome.refused.append((message.address, str(error)))

    def _changes(
        self,
        messages: Sequence[Message],
        source: Any,
        outcome: Outcome,
        held: dict[str, Message] | None,
    ) -> Iterator[Change | None]:
        """Yield the messages to apply, those to a trigger only if they fire it; run commands.

        None comes before each command.

        With `held`, what is quantised is added to it, and commands of that kind are not run.
        """
        for message in messages:
            if command := self._addresses.command(message.address):
                yield None
                self._run(command, message, source, outcome, held)
                continue
            entry = self._addresses.find(message.address)
            if entry is None:
                outcome.unknown.append(message.address)
                continue
            name, address = entry
            try:
                if address.trigger and not self._buttons.press((source, name), message.arguments):
                    continue
                if held is not None and address.quantised:
                    _add_held(held, name, message.arguments, pressed=address.trigger)
                yield Change(name, address, message.arguments)
            except ParameterError as error:
                outcome.refused.append((message.address, str(error)))

    def _collect(
        self, target: Parameters, wanted: Sequence[Change], outcome: Outcome, *, strict: bool
    ) -> tuple[Changes, float | Fade | None]:
        """Return the changes that `wanted` make to `target`, and their fade."""
        transaction = Transaction(target, self._presets, self._config.num_steps)
        for name, address, arguments in wanted:
            trial = transaction.copy()
            try:
                address.set(trial, arguments)
                if strict:
                    self._config.changed(target, trial.changes())
            except ParameterError as error:
                outcome.refused.append((name, str(error)))
                continue
            transaction = trial
            (outcome.clamped if transaction.clamped else outcome.applied).append(name)
            if transaction.clamped and not address.get:
                # There is no value to send back, which would show it.
                transaction.warnings.append("goes beyond its range; the nearest value was taken")
            outcome.warnings += [(name, warning) for warning in transaction.warnings]
        self._presets.current = transaction.preset or self._presets.current
        return transaction.changes(), transaction.fade()


def _add_held(
    held: dict[str, Message], name: str, arguments: tuple[Argument, ...], *, pressed: bool
) -> None:
    """Add a message, as the newest one; that of a button that is pressed has no arguments."""
    held.pop(name, None)
    held[name] = Message(name, () if pressed else arguments)


class Buttons:
    """State of the buttons that clients hold down, so that one press fires once."""

    def __init__(self) -> None:
        self._down: OrderedDict[Any, bool] = OrderedDict()

    def press(self, button: Any, arguments: Sequence[Argument]) -> bool:
        """Return whether `arguments` press `button`: none, true, or a rise to 0.5 or more.

        Raises:
            ParameterError: they are no number, or not finite.
        """
        down = parse_flag(arguments)
        was_down = self._down.get(button, False)
        self._down[button] = down
        self._down.move_to_end(button)
        if len(self._down) > MAX_BUTTONS:
            self._down.popitem(last=False)
        # No argument and true come without a release, so each of them is a press.
        has_release = bool(arguments) and arguments[0] is not True
        if not has_release:
            self._down[button] = False
        return down and not (was_down and has_release)
