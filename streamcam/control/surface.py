"""The control surface: all that an operator can change, by address, whichever protocol is used."""

from collections.abc import Callable, Iterator, Sequence
from threading import RLock
from typing import Any

from streamcam.control.addresses import Addresses
from streamcam.control.commands import BoundCommands
from streamcam.control.dispatcher import Dispatcher, Outcome
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
        settings = config.broadcast
        self.config = config
        self.control = control
        self.prefix = settings.osc_prefix
        """Beginning of every address."""
        self.presets = PresetBank(config, report)
        self.addresses = Addresses(settings.osc_prefix, settings.osc_alias)
        self.commands = BoundCommands()
        """What a broadcast has bound to the addresses of commands."""
        self._dispatcher = Dispatcher(control, config, self.addresses, self.presets, self.commands)
        # A command may apply messages of its own, as a cue does.
        self._applying = RLock()

    def apply(self, messages: Sequence[Message], source: Any) -> Outcome:
        """Apply `messages` as one change; a refused one does not hinder the rest.

        Args:
            messages: those of one packet, in their order.
            source: their sender, hashable, as each sender's buttons are tracked separately.
        """
        with self._applying:
            return self._dispatcher.apply(messages, source)

    def update(self, decide: Decide, preset: str | None = None) -> None:
        """Apply the changes that `decide` makes from the target, as `Control.update` does.

        Args:
            decide: takes the target; returns values by field name, and their fade.
            preset: the one that is among them, to become the current one.

        Raises:
            ParameterError: a change is refused, and none was applied.
        """
        with self._applying:
            self.control.update(decide)
            if preset:
                self.set_preset(preset)

    def between_packets(self, action: Callable[[], None]) -> None:
        """Call `action` while no packet is being applied; it may change what it likes."""
        with self._applying:
            action()

    def set_preset(self, name: str | None) -> None:
        """Make a preset the current one, without loading it; None for none."""
        with self._applying:
            self.presets.current = self.control.preset = name

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
