"""A controller at a surface, without threads: bytes in, values and bytes out."""

from typing import Any

from streamcam.control.messages import Argument, Message
from streamcam.control.midi.control_targets import Targets
from streamcam.control.midi.mapping_file import parse_mapping
from streamcam.control.midi.mapping_store import StoredMapping
from streamcam.control.midi.open_port import OpenPort
from streamcam.control.state import Control
from streamcam.control.surface import ControlSurface
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from tests.support.memory_midi import MemoryMidi, mido


def surface_of(**given: Any) -> ControlSurface:
    config = build_config([given])
    return ControlSurface(Control(config), config, print)


class Controller:
    """A controller whose mapping is the text of a file."""

    def __init__(self, mapping: str, **given: Any) -> None:
        self.surface = surface_of(**given)
        self.machine = MemoryMidi("Controller")
        targets = Targets(self.surface)
        parsed = parse_mapping(mapping, "controller.toml", targets.check)
        assert parsed.problems == ()
        stored = StoredMapping(parsed.mapping)
        self.port = OpenPort("Controller", self.surface, targets, stored, lambda: None)
        self.port.output = self.machine.backend.open_output("Controller")
        self.now = 0.0
        self.refused: list[tuple[str, str]] = []

    def __call__(self, *data: int) -> Parameters:
        """Send bytes as one batch, and return the target."""
        for message in mido.Parser(data):
            self.port.receive(message)
        _clock, movements = self.port.take()
        self.refused += self.port.apply(movements, self.now)
        return self.surface.control.target

    def cc(self, *values: int, number: int = 0) -> Parameters:
        """Send each value of a controller in a batch of its own."""
        for value in values:
            self(0xB0, number, value)
        return self.surface.control.target

    def change(self, address: str, *arguments: Argument) -> None:
        """Change a value as another client does."""
        self.surface.apply([Message(f"/streamcam/{address}", arguments)], "another client")

    def feedback(self, after_s: float = 10.0) -> list[tuple[int, ...]]:
        """Return the bytes that the controller is sent, some time later."""
        self.now += after_s
        self.machine.sent.clear()
        self.port.send_feedback(self.now)
        return [tuple(data) for _port, data in self.machine.sent]
