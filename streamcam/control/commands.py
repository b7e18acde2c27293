"""Commands: addresses that do something besides changing parameters, such as saving a preset.

They are declared in a table, from which the docs, ``streamcam osc list`` and every protocol
follow; a broadcast binds those that it can run.
"""

from collections.abc import Callable, Mapping, Sequence

from streamcam.control.command_declaration import Command
from streamcam.control.cue_commands import CUE_COMMANDS
from streamcam.control.messages import Argument
from streamcam.control.midi.midi_commands import MIDI_COMMANDS
from streamcam.control.obs.obs_commands import OBS_COMMANDS
from streamcam.control.preset_commands import PRESET_COMMANDS
from streamcam.control.sink_commands import SINK_COMMANDS
from streamcam.control.tempo.tempo_commands import TEMPO_COMMANDS
from streamcam.errors import ParameterError

Run = Callable[[Sequence[Argument]], None]
"""Takes the arguments; raises ParameterError if they are refused. It must not block."""
Read = Callable[[], tuple[Argument, ...]]
"""Returns the present value as arguments, none if there is none. It must not block."""


COMMANDS: Mapping[str, Command] = {
    **MIDI_COMMANDS,
    **OBS_COMMANDS,
    **TEMPO_COMMANDS,
    **SINK_COMMANDS,
    **PRESET_COMMANDS,
    **CUE_COMMANDS,
}
"""All commands by their address without the prefix."""


def only_read(_arguments: Sequence[Argument]) -> None:
    """Run a command that is there for its value alone: refuse."""
    raise ParameterError("is only read; nothing can be sent to it")


class BoundCommands:
    """The declared commands and the functions that a broadcast has bound to them."""

    def __init__(self, declared: Mapping[str, Command] = COMMANDS) -> None:
        self.declared = declared
        self._bound: dict[str, tuple[Run, Read | None]] = {}

    def bind(self, name: str, run: Run, read: Read | None = None) -> None:
        """Let the command `name` call `run`, and have the value that `read` returns."""
        if name not in self.declared:
            raise KeyError(name)
        self._bound[name] = (run, read)

    def is_bound(self, name: str) -> bool:
        """Return whether the command `name` can be run."""
        return name in self._bound

    def run(self, name: str, arguments: Sequence[Argument]) -> None:
        """Run a command; raise ParameterError if it is refused, or if nothing is bound to it."""
        if name not in self._bound:
            raise ParameterError(self.declared[name].unavailable)
        self._bound[name][0](arguments)

    def read(self, name: str) -> tuple[Argument, ...]:
        """Return the value of a command as arguments, none if it has none."""
        read = self._bound[name][1] if name in self._bound else None
        return read() if read else ()
