"""The control surface: all that an operator can change, by address, whichever protocol is used."""

from collections.abc import Callable, Iterator, Sequence
from threading import RLock
from typing import Any

from streamcam.control.addresses import Addresses
from streamcam.control.commands import BoundCommands
from streamcam.control.dispatcher import HELD, Dispatcher, Hold, Outcome
from streamcam.control.messages import Message
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Control, Decide
from streamcam.settings.config import Config


class ControlSurface:
    """The table of addresses, what they change, and the presets; shared by all protocols.

    Any thread may call any method: messages are applied one packet after the other.
    """

    def __init__(self, control: Control, config: Config, report: Callable[[str], None]) -> None:
        """Read the presets and make the table.

        Args:
            control: the live parameters, which messages change.
            config: settings fixed at start.
            report: takes a line for the log.

        Raises:
            ConfigError: an entry of ``osc_alias`` leads nowhere.
        """
        self.config = config
        self.control = control
        self.prefix = config.broadcast.osc_prefix
        """Beginning of every address."""
        self.presets = PresetBank(config, report)
        self.addresses = Addresses.of(config)
        self.commands = BoundCommands()
        """What a broadcast has bound to the addresses of commands."""
        self._dispatcher = Dispatcher(control, config, self.addresses, self.presets, self.commands)
        self.hold: Hold | None = None
        """Takes the messages that wait for the beat, where changes are quantised."""
        # A command may apply messages of its own, as a cue does.
        self._lock = RLock()
        self._is_applying = False
        self._listeners: list[Callable[[], None]] = []

    def apply(self, messages: Sequence[Message], source: Any) -> Outcome:
        """Apply `messages` as one change; a refused one does not hinder the rest.

        Where changes are quantised, some of them wait for the beat; see `Address.quantised`.

        Args:
            messages: those of one packet, in their order.
            source: their sender, hashable, as each sender's buttons are tracked separately.
        """
        return self._apply(messages, source, self.hold)

    def apply_at_once(self, messages: Sequence[Message], source: Any = HELD) -> Outcome:
        """Apply `messages` as `apply` does, without waiting for the beat.

        Args:
            messages: those of one packet, or those that `hold` took.
            source: their sender; by default that of messages which have waited.
        """
        return self._apply(messages, source, None)

    def _apply(self, messages: Sequence[Message], source: Any, hold: Hold | None) -> Outcome:
        with self._lock:
            # What a command applies is a part of it, and has waited with it.
            outer, self._is_applying = self._is_applying, True
            try:
                outcome = self._dispatcher.apply(messages, source, None if outer else hold)
            finally:
                self._is_applying = outer
        self.notify()
        return outcome

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every packet, from the thread that applied it; it must not block.

        Changes of parameters by fades and by other means than messages are reported by
        `Control.listen`.
        """
        self._listeners.append(listener)

    def notify(self) -> None:
        """Call the listeners: the value of a command has changed, by itself perhaps."""
        for listener in self._listeners:
            listener()

    def update(self, decide: Decide, preset: str | None = None) -> None:
        """Apply the changes that `decide` makes from the target, as `Control.update` does.

        Args:
            decide: takes the target; returns values by field name, and their fade.
            preset: the one that is among them, to become the current one.

        Raises:
            ParameterError: a change is refused, and none was applied.
        """
        with self._lock:
            self.control.update(decide)
            if preset:
                self.set_preset(preset)

    def between_packets(self, action: Callable[[], None]) -> None:
        """Call `action` while no packet is being applied; it may change what it likes."""
        with self._lock:
            action()
        self.notify()

    def set_preset(self, name: str | None) -> None:
        """Make a preset the current one, without loading it; None for none."""
        with self._lock:
            self.presets.current = self.control.preset = name
        self.notify()

    def state(self) -> object:
        """Return all that `values` follows from: it is equal as long as no value has changed."""
        return (
            self.control.target,
            self.presets.current,
            self.presets.names,
            list(self._command_values()),
        )

    def values(self) -> list[Message]:
        """Return the current value of every address that has one: the operator's latest choice."""
        return [
            *self.addresses.messages(self.control.target),
            *self._preset_values(),
            *self._command_values(),
        ]

    def value_of(self, address: str) -> Message | None:
        """Return the current value of an address or alias, None if it has none."""
        name, known = self.addresses.find(address) or (address, None)
        if known and known.get:
            arguments = known.get(self.control.target)
            return Message(name, arguments) if arguments else None
        name = self.addresses.aliases.get(address, address)
        others = (*self._preset_values(), *self._command_values())
        return next((value for value in others if value.address == name), None)

    def _command_values(self) -> Iterator[Message]:
        for address, name in self.addresses.commands.items():
            if arguments := self.commands.read(name):
                yield Message(address, arguments)

    def _preset_values(self) -> Iterator[Message]:
        if self.presets.current:
            yield Message(f"{self.prefix}/preset/load", (self.presets.current,))
        yield Message(f"{self.prefix}/preset/names", self.presets.names)
