"""Save, rename and delete presets on air, in a thread that may wait for a slow disk."""

from collections.abc import Sequence
from functools import partial
from unicodedata import normalize

from streamcam.control.commands import only_read
from streamcam.control.file_jobs import FileJobs
from streamcam.control.messages import Argument
from streamcam.control.preset_files import (
    check_own,
    check_unprotected,
    delete_preset,
    look_of,
    preset_text,
    rename_preset,
    save_preset,
)
from streamcam.control.surface import ControlSurface
from streamcam.control.values import parse_text
from streamcam.errors import ParameterError
from streamcam.settings.parameters import Parameters
from streamcam.settings.safe_names import safe_name


class PresetEditor:
    """Runs the commands of the user's presets, one after the other.

    Whoever sends a command goes on at once. What became of it is logged, shown with the figures,
    and sent as ``preset/notice``.
    """

    def __init__(self, surface: ControlSurface, jobs: FileJobs) -> None:
        self._surface = surface
        self._jobs = jobs
        self._notice = ""

    def bind(self) -> None:
        """Let the surface run the commands."""
        commands = self._surface.commands
        commands.bind("preset/save", self._save)
        commands.bind("preset/rename", self._rename)
        commands.bind("preset/delete", self._delete)
        commands.bind("preset/notice", only_read, lambda: (self._notice,))

    def _save(self, arguments: Sequence[Argument]) -> None:
        name = self._free_name(parse_text(arguments))
        self._jobs.add(partial(self._write, name, self._surface.control.target), self._tell)

    def _rename(self, arguments: Sequence[Argument]) -> None:
        if len(arguments) != 2:
            raise ParameterError('takes two names, such as "rough" "charcoal"')
        old, new = _name(arguments[:1]), self._free_name(parse_text(arguments[1:]))
        self._check_own(old)
        self._jobs.add(partial(self._move, old, new), self._tell)

    def _delete(self, arguments: Sequence[Argument]) -> None:
        name = _name(arguments)
        self._check_own(name)
        self._jobs.add(partial(self._remove, name), self._tell)

    def _check_own(self, name: str) -> None:
        presets = self._surface.presets
        # One of the user's may have been there before another of its name came with streamcam.
        if name not in presets.own:
            check_own(name, presets.protected)

    def _free_name(self, text: str) -> str:
        """Return `text` as a name that the user's preset may have, without a look at the disk."""
        check_unprotected(text.strip(), self._surface.presets.protected)
        return safe_name(text, "a preset")

    def _tell(self, line: str) -> None:
        self._notice = line
        self._surface.control.notify(line)
        self._surface.notify()

    def _write(self, name: str, parameters: Parameters) -> str:
        presets = self._surface.presets
        look = look_of(parameters, presets.defaults)
        path = save_preset(name, preset_text(look), overwrite=True, keep_old=True)
        presets.reload()
        if look == look_of(self._surface.control.target, presets.defaults):
            self._surface.set_preset(name)
        return f'saved the preset "{name}" as {path}'

    def _move(self, old: str, new: str) -> str:
        path = rename_preset(old, new)
        self._surface.presets.reload()
        if self._surface.presets.current == old:
            self._surface.set_preset(new)
        return f'renamed the preset "{old}" to "{new}", {path}'

    def _remove(self, name: str) -> str:
        path = delete_preset(name)
        self._surface.presets.reload()
        if self._surface.presets.current == name:
            self._surface.set_preset(None)
        return f'deleted the preset "{name}", {path}'


def _name(arguments: Sequence[Argument]) -> str:
    return normalize("NFC", parse_text(arguments)).strip()
