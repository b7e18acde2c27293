"""Cue lists: the named cues of a show in their order, checked as a whole before it begins.

Not to be confused with `cues`, the changes by frame that a recording keeps and a render repeats.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Any
from unicodedata import normalize

from streamcam.control.messages import Argument
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Fade
from streamcam.control.values import parse_number
from streamcam.errors import ConfigError, ParameterError, suggest
from streamcam.settings.config import Config
from streamcam.settings.cue_settings import CueRow, read_cue_list
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import find_presets

Values = dict[str, Any]
"""Live values by field name."""


@dataclass(frozen=True, slots=True)
class Cue:
    """One cue: what it changes, how, and what may start it."""

    name: str
    preset: str | None
    values: Values
    triggers: tuple[str, ...]
    """Counters that it raises by one."""
    fade: Fade
    follow_s: float | None
    """Seconds from its GO to that of the next cue."""
    at: time | None
    """Time of day, local, at which it goes by itself."""
    note: str

    def changes(self, presets: PresetBank) -> Values:
        """Return the live values that it sets; raise ParameterError if its preset is gone."""
        changes = dict(presets.changes(self.preset)) if self.preset else {}
        return merged(changes, self.values)


class CueList:
    """The cues of a show."""

    def __init__(self, name: str, cues: Sequence[Cue], *, loop: bool = False) -> None:
        self.name = name
        self.cues = cues
        self.loop = loop
        """Whether the first cue comes after the last one."""
        self.names = tuple(cue.name for cue in cues)

    def after(self, place: int | None) -> int | None:
        """Return the place after another, counted from 0; None at the end."""
        if place is None:
            return 0 if self.cues else None
        if place + 1 < len(self.cues):
            return place + 1
        return 0 if self.loop else None

    def find(self, arguments: Sequence[Argument]) -> int:
        """Return the place of the cue with a name, or of a number from 1; raise ParameterError."""
        if not arguments:
            raise ParameterError("takes the number of a cue, from 1, or its name")
        text = normalize("NFC", str(arguments[0])).strip()
        if text in self.names:
            return self.names.index(text)
        number = _whole_number(arguments)
        if number is None:
            raise ParameterError(f'no cue "{text:.40}": {suggest(text[:40], self.names)}')
        if not 1 <= number <= len(self.cues):
            raise ParameterError(f"no cue {number}: they are numbered from 1 to {len(self.cues)}")
        return number - 1

    def look_at(self, place: int, start: Parameters, presets: PresetBank) -> Values:
        """Return all values that the cues set as they are at `place`, played from the beginning.

        Args:
            place: of the cue, counted from 0.
            start: what applies before the first cue.
            presets: the presets that the cues name.

        Raises:
            ParameterError: a preset is gone.
        """
        played = [cue.changes(presets) for cue in self.cues[: place + 1]]
        look = {name: getattr(start, name) for values in played for name in values}
        for cue in self.cues[place + 1 :]:
            with suppress(ParameterError):  # The preset of a cue that is not played.
                look |= {name: getattr(start, name) for name in cue.changes(presets)}
        for values in played:
            look = merged(look, values)
        return look

    def preset_at(self, place: int) -> str | None:
        """Return the preset loaded last at `place`, played from the beginning; None if none."""
        presets = [cue.preset for cue in self.cues[: place + 1] if cue.preset]
        return presets[-1] if presets else None


def _whole_number(arguments: Sequence[Argument]) -> int | None:
    if arguments[0] is None or isinstance(arguments[0], bool):
        return None
    with suppress(ParameterError):
        number = parse_number(arguments)
        return int(number) if number % 1 == 0 else None
    return None


def merged(values: Values, later: Values) -> Values:
    """Return `values` with `later` ones on top.

    `strength` and `t_index_list` are two forms of one thing, of which the later one counts.
    """
    values = dict(values)
    if later.get("strength") is not None:
        values.pop("t_index_list", None)
    elif later.get("t_index_list") is not None:
        values.pop("strength", None)
    return values | later


def load_cue_list(path: Path, config: Config, presets: PresetBank) -> CueList:
    """Return the cue list in a file, after a trial run of it all from the start of the show.

    Args:
        path: TOML, a ``[[cue]]`` for each cue.
        config: settings that the show runs with.
        presets: the presets that cues may name.

    Raises:
        ConfigError: the file cannot be read, or a cue is refused; its line is named.
    """
    whole, rows = read_cue_list(path)
    cues = [_cue(row) for row in rows]
    _check_names(rows)
    parameters = config.live
    for row, cue in zip(rows, cues, strict=True):
        try:
            if cue.preset:
                _check_preset(cue.preset, presets)
            parameters = config.changed(parameters, cue.changes(presets))
        except ParameterError as error:
            raise ConfigError(f'the cue "{cue.name}": {error} ({row.line})') from None
    if cues[-1].follow_s is not None and not whole.loop:
        raise ConfigError(
            f'the cue "{cues[-1].name}" is the last, so nothing can follow it; leave out "follow",'
            f' or write "loop = true" at the top of the file ({rows[-1].line})'
        )
    return CueList(path.stem, cues, loop=whole.loop)


def _cue(row: CueRow) -> Cue:
    settings = row.settings
    return Cue(
        settings.name,
        settings.preset,
        dict(row.values),
        row.triggers,
        Fade(settings.fade, settings.easing),
        settings.follow,
        settings.at,
        settings.note,
    )


def _check_names(rows: Sequence[CueRow]) -> None:
    seen: dict[str, CueRow] = {}
    for row in rows:
        name = row.settings.name
        if first := seen.get(name.casefold()):
            raise ConfigError(f'two cues are called "{name}" ({first.line}; {row.line})')
        seen[name.casefold()] = row


def _check_preset(name: str, presets: PresetBank) -> None:
    if name not in presets.names and name in find_presets():
        raise ParameterError(
            f'the preset "{name}" cannot be loaded on air: it is for another model, or sets no'
            " live value"
        )
