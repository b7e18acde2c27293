"""Save, rename and delete presets on air, in a thread that may wait for a slow disk."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Event
from typing import Self

from streamcam.control.commands import only_read
from streamcam.control.messages import Argument
from streamcam.control.preset_files import (
    check_unprotected,
    delete_preset,
    look_of,
    preset_text,
    rename_preset,
    save_preset,
)
from streamcam.control.surface import ControlSurface
from streamcam.control.values import parse_text
from streamcam.errors import ParameterError, StreamcamError, one_line, printable
from streamcam.settings.parameters import Parameters
from streamcam.settings.safe_names import safe_name
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

MAX_WAITING = 32
"""Presets that may wait for the disk."""
STOP_S = 2.0
"""Seconds that the last of them have at the end of a broadcast."""

Job = Callable[[], str]
"""Does what was asked for; returns a line on it."""


class PresetEditor:
    """Runs the commands of the user's presets, one after the other; enter it to bind them.

    Whoever sends a command goes on at once. What became of it is logged, shown with the figures,
    and sent as ``preset/notice``.
    """

    def __init__(self, surface: ControlSurface) -> None:
        self._surface = surface
        self._notice = ""
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._stopping = Event()
        self._thread = SupervisedThread("presets", self._work, self._stopping)

    def __enter__(self) -> Self:
        commands = self._surface.commands
        commands.bind("preset/save", self._save)
        commands.bind("preset/rename", self._rename)
        commands.bind("preset/delete", self._delete)
        commands.bind("preset/notice", only_read, lambda: (self._notice,))
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._jobs.put(None)
        self._thread.join(STOP_S)
        self._stopping.set()

    def _save(self, arguments: Sequence[Argument]) -> None:
        name = self._free_name(parse_text(arguments))
        self._add(partial(self._write, name, self._surface.control.target))

    def _rename(self, arguments: Sequence[Argument]) -> None:
        if len(arguments) != 2:
            raise ParameterError('takes two names, such as "rough" "charcoal"')
        old, new = parse_text(arguments[:1]), self._free_name(parse_text(arguments[1:]))
        check_unprotected(old, self._surface.presets.protected)
        self._add(partial(self._move, old, new))

    def _delete(self, arguments: Sequence[Argument]) -> None:
        name = parse_text(arguments)
        check_unprotected(name, self._surface.presets.protected)
        self._add(partial(self._remove, name))

    def _free_name(self, text: str) -> str:
        """Return `text` as a name that the user's preset may have, without a look at the disk."""
        check_unprotected(text, self._surface.presets.protected)
        return safe_name(text, "a preset")

    def _add(self, job: Job) -> None:
        if self._jobs.qsize() >= MAX_WAITING:
            raise ParameterError("the presets before are not saved yet: is the disk too slow?")
        self._jobs.put(job)

    def _work(self) -> None:
        while job := self._jobs.get():
            try:
                line, level = job(), logging.INFO
            except StreamcamError as error:
                line, level = str(error), logging.WARNING
            except Exception as error:
                log.exception("a preset could not be changed")
                line, level = f"a preset could not be changed: {one_line(error)}", logging.WARNING
            line = printable(line)
            log.log(level, "%s", line)
            self._notice = line
            self._surface.control.notify(line)

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
