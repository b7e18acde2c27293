"""Dispatcher: applies the messages of one packet as one change of the parameters."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamcam.control.addresses import Address, Addresses
from streamcam.control.commands import BoundCommands
from streamcam.control.messages import Argument, Message
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Changes, Control, Fade
from streamcam.control.transaction import Transaction
from streamcam.control.values import parse_flag
from streamcam.errors import ParameterError
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


class Change(NamedTuple):
    """A message that changes parameters."""

    name: str
    address: Address
    arguments: Sequence[Argument]


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

    def apply(self, messages: Sequence[Message], source: Any) -> Outcome:
        """Apply `messages` in their order as one change; a refused one does not hinder the rest.

        Args:
            messages: those of one packet.
            source: their sender, as each sender's buttons are tracked separately.
        """
        outcome = Outcome()
        wanted = list(self._changes(messages, source, outcome))
        if not wanted:
            return outcome
        done = list(outcome.applied)
        before = (list(outcome.refused), self._presets.current)
        try:
            self._control.update(
                lambda target: self._collect(target, wanted, outcome, strict=False)
            )
        except ParameterError:
            # One contradicts another, or the number of steps: check each of them on its own.
            outcome.refused, self._presets.current = before
            outcome.applied, outcome.clamped, outcome.warnings = done, [], []
            self._control.update(lambda target: self._collect(target, wanted, outcome, strict=True))
        self._control.preset = self._presets.current
        return outcome

    def _run(self, name: str, message: Message, source: Any, outcome: Outcome) -> None:
        """Run a command; that of a button only if it is pressed."""
        trigger = self._bound.declared[name].trigger
        try:
            if not trigger or self._buttons.press((source, name), message.arguments):
                self._bound.run(name, message.arguments)
                outcome.applied.append(message.address)
        except ParameterError as error:
            outcome.refused.append((message.address, str(error)))

    def _changes(
        self, messages: Sequence[Message], source: Any, outcome: Outcome
    ) -> Iterator[Change]:
        """Yield the messages to apply, those to a trigger only if they fire it; run commands."""
        for message in messages:
            if command := self._addresses.command(message.address):
                self._run(command, message, source, outcome)
                continue
            entry = self._addresses.find(message.address)
            if entry is None:
                outcome.unknown.append(message.address)
                continue
            name, address = entry
            try:
                if not address.trigger or self._buttons.press((source, name), message.arguments):
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
