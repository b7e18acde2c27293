"""Messages to changes: those of one packet apply as one, whoever else turns knobs meanwhile."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from streamcam.control.osc.addresses import Address, Addresses
from streamcam.control.osc.packets import Argument, Message
from streamcam.control.osc.transaction import Draft
from streamcam.control.osc.values import flag
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Changes, Control
from streamcam.errors import ParameterError
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters

EDGES_KEPT = 4096


@dataclass
class Applied:
    """What became of the messages of one packet, by the addresses' own names."""

    moved: list[str] = field(default_factory=list)
    """Those that got what they asked for."""
    clamped: list[str] = field(default_factory=list)
    """Those that got the nearest possible."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Those that got nothing, and why."""
    unknown: list[str] = field(default_factory=list)
    """Addresses that lead nowhere, as they came."""


class Move(NamedTuple):
    """A message whose address is known."""

    name: str
    address: Address
    arguments: Sequence[Argument]


class Console:
    """Applies messages to the one mutable cell."""

    def __init__(
        self, control: Control, config: Config, addresses: Addresses, presets: PresetBank
    ) -> None:
        self._control = control
        self._config = config
        self._addresses = addresses
        self._presets = presets
        self._edges = Edges()

    def apply(self, messages: Sequence[Message], source: Any) -> Applied:
        """Apply `messages` in their order as one change; what is refused does not hinder the rest.

        Args:
            messages: those of one packet.
            source: who sends them, so that everyone's buttons are watched on their own.
        """
        applied = Applied()
        moves = list(self._moves(messages, source, applied))
        if not moves:
            return applied
        before = (list(applied.refused), self._presets.current)
        try:
            self._control.update(lambda target: self._decide(target, moves, applied, strict=False))
        except ParameterError:
            # One contradicts another, or the structure: each is then judged on its own.
            applied.refused, self._presets.current = before
            applied.moved, applied.clamped = [], []
            self._control.update(lambda target: self._decide(target, moves, applied, strict=True))
        return applied

    def _moves(self, messages: Sequence[Message], source: Any, applied: Applied) -> Iterator[Move]:
        """Yield what is to be done; a trigger only when it fires."""
        for message in messages:
            found = self._addresses.find(message.address)
            if found is None:
                applied.unknown.append(message.address)
                continue
            name, address = found
            try:
                if not address.trigger or self._edges.rises((source, name), message.arguments):
                    yield Move(name, address, message.arguments)
            except ParameterError as error:
                applied.refused.append((message.address, str(error)))

    def _decide(
        self, target: Parameters, moves: Sequence[Move], applied: Applied, *, strict: bool
    ) -> tuple[Changes, float | None]:
        """Return the changes that `moves` make of `target`, and the seconds they take."""
        draft = Draft(target, self._presets, self._config.num_steps)
        for name, address, arguments in moves:
            trial = draft.copy()
            try:
                address.set(trial, arguments)
                if strict:
                    self._config.changed(target, trial.changes())
            except ParameterError as error:
                applied.refused.append((name, str(error)))
                continue
            draft = trial
            (applied.clamped if draft.clamped else applied.moved).append(name)
        self._presets.current = draft.preset or self._presets.current
        return draft.changes(), draft.over()


class Edges:
    """Remembers which buttons are down, so that one press fires once."""

    def __init__(self) -> None:
        self._down: OrderedDict[Any, bool] = OrderedDict()

    def rises(self, button: Any, arguments: Sequence[Argument]) -> bool:
        """Return whether these arguments press `button`: none, true, or a rise to 0.5 or more.

        Raises:
            ParameterError: they are no number, or not finite.
        """
        down = flag(arguments)
        was_down = self._down.get(button, False)
        self._down[button] = down
        self._down.move_to_end(button)
        if len(self._down) > EDGES_KEPT:
            self._down.popitem(last=False)
        # No argument and true come without a release, so each of them is a press.
        lasting = bool(arguments) and arguments[0] is not True
        if not lasting:
            self._down[button] = False
        return down and not (was_down and lasting)
