"""Cue lists as TOML files: the settings of the list and of each cue, with their places."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from unicodedata import normalize

from pydantic import AfterValidator, BeforeValidator, Field

from streamcam.errors import ConfigError, StreamcamError, suggest
from streamcam.settings.base import Settings, Traits, traits
from streamcam.settings.config import FIXED_NAMES, LIVE_NAMES
from streamcam.settings.layer import Layer, line_of
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import presets_in, read_settings, shipped_folder
from streamcam.settings.value_types import Easing
from streamcam.system.paths import cue_lists_folder

MAX_BYTES = 1_000_000
MAX_CUES = 1000
MAX_NAME = 60
HEADER = re.compile(r"^[ \t]*\[\[[ \t]*cue[ \t]*\]\][^\n]*", re.MULTILINE)
EXAMPLE = '[[cue]], name = "doors", preset = "pencil"'


def _cue_name(value: str) -> str:
    name = normalize("NFC", value).strip()
    if not name or not name.isprintable():
        raise ValueError("must be a text in one line")
    if name.isdecimal():
        raise ValueError("must be more than a number, as cues are numbered by their places")
    return name


def _time_of_day(value: Any) -> Any:
    """Read ``19:30:00`` as TOML has it, or a text such as ``19:30``."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = time.fromisoformat(value.strip())
        except ValueError:
            value = None
    if not isinstance(value, time) or value.tzinfo is not None:
        raise ValueError("must be a time of day, such as 19:30:00")
    return value


class CueSettings(Settings):
    """One cue, but for the live values that it sets."""

    name: Annotated[str, AfterValidator(_cue_name), Field(max_length=MAX_NAME)] = Field(
        description="Name of the cue."
    )
    preset: str | None = Field(default=None, description="Preset that it loads.")
    fade: Annotated[float, Traits(unit="s")] = Field(
        default=0.0, ge=0, le=600, description="Seconds over which it fades in."
    )
    easing: Easing = Field(default="linear", description="The pace of the fade.")
    follow: Annotated[float | None, Traits(unit="s")] = Field(
        default=None,
        ge=0.1,
        le=86_400,
        description="Seconds after which the next cue goes by itself, counted from this one's GO.",
    )
    at: Annotated[time | None, BeforeValidator(_time_of_day)] = Field(
        default=None, description="Time of day at which it goes by itself."
    )
    note: str = Field(default="", description="For whoever reads the list.")


class CueListSettings(Settings):
    """The settings of a whole list."""

    fade: float = Field(default=0.0, ge=0, le=600, description="Fade of cues without their own.")
    easing: Easing = Field(default="linear", description="Easing of cues without their own.")
    loop: bool = Field(default=False, description="After the last cue, GO is to the first.")


class CueRow:
    """One cue of a file, with the live values it sets and its place for errors."""

    def __init__(
        self, settings: CueSettings, values: Mapping[str, Any], triggers: tuple[str, ...], line: str
    ) -> None:
        self.settings = settings
        self.values = values
        self.triggers = triggers
        """Counters that it raises by one."""
        self.line = line
        """File and line that it begins at."""


def find_cue_lists() -> dict[str, Path]:
    """Return the cue lists by name: those that come with streamcam, the user's, ``./configs/cues``.

    Of one name the last wins.
    """
    folders = [shipped_folder() / "cues"]
    with suppress(StreamcamError):  # Where no home folder is known, there are none of the user.
        folders.append(cue_lists_folder())
    folders.append(Path("configs") / "cues")
    return {name: path for folder in folders for name, path in presets_in(folder).items()}


def cue_list_file(name: str) -> Path:
    """Return the file of a cue list that is given as a path, or as the name of one.

    Raises:
        ConfigError: there is none of that name.
    """
    path = Path(name)
    if path.suffix in (".toml", ".jsonl") or len(path.parts) > 1:
        return path
    known = find_cue_lists()
    if name not in known:
        hint = suggest(name, known) if known else "there are none"
        raise ConfigError(f'no cue list "{name:.40}": {hint}; or give a file, {name:.40}.toml')
    return known[name]


def read_cue_list(path: Path) -> tuple[CueListSettings, list[CueRow]]:
    """Return the settings of a cue list and its cues, each checked on its own.

    Raises:
        ConfigError: the file cannot be read, or a cue is wrong; its line is named.
    """
    if path.suffix == ".jsonl":
        raise ConfigError(
            f"{path} holds changes by frame, as recordings have them: give it to streamcam render"
            " --cues. A cue list is a TOML file"
        )
    layer, text = read_settings(path, MAX_BYTES)
    cues = layer.pop("cue", [])
    if not isinstance(cues, list) or not all(isinstance(cue, dict) for cue in cues):
        raise ConfigError(f"cue must be a list of tables: {EXAMPLE} ({layer.place('cue')})")
    if not cues:
        raise ConfigError(f"{path} has no cues; one is {EXAMPLE}")
    whole = CueListSettings.parse(layer, place=layer.place)
    if len(cues) > MAX_CUES:
        raise ConfigError(f"{path} has {len(cues)} cues; at most {MAX_CUES} are allowed")
    places = _Places(str(path), text, len(cues))
    rows = [_row(whole, Layer(cue, partial(places, n)), places(n)) for n, cue in enumerate(cues)]
    return whole, rows


def _row(whole: CueListSettings, cue: Layer, line: str) -> CueRow:
    own = CueSettings.model_fields
    given = {"fade": whole.fade, "easing": whole.easing} | {n: cue[n] for n in cue if n in own}
    if "name" not in given:
        raise ConfigError(f"a cue has no name; one is {EXAMPLE} ({line})")
    settings = CueSettings.parse(given, place=cue.place)
    live: dict[str, Any] = {}
    for name in cue.keys() - own.keys():
        if name in FIXED_NAMES:
            raise ConfigError(
                f'"{name}" is fixed at start and cannot change in a cue ({cue.place(name)})'
            )
        if name not in LIVE_NAMES:
            hint = suggest(name, [*own, *LIVE_NAMES])
            raise ConfigError(f'unknown setting "{name:.40}": {hint} ({cue.place(name)})')
        live[LIVE_NAMES[name]] = cue[name]
    parsed = Parameters.parse(live, place=cue.place)
    triggers = tuple(n for n in live if traits(Parameters.model_fields[n]).trigger and live[n])
    values = {n: getattr(parsed, n) for n in live if not traits(Parameters.model_fields[n]).trigger}
    if not (settings.preset or values or triggers):
        raise ConfigError(f'the cue "{settings.name}" changes nothing; {EXAMPLE} does ({line})')
    return CueRow(settings, values, triggers, line)


class _Places:
    """The places of cues and their settings in a file."""

    def __init__(self, name: str, text: str, count: int) -> None:
        self._name, self._text = name, text
        starts = [match.end() for match in HEADER.finditer(text)]
        # Written in another way, as one list of tables, say, they have no headers to be found by.
        self._blocks = list(_blocks(text, starts)) if len(starts) == count else []

    def __call__(self, number: int, setting: str = "") -> str:
        """Return the place of a cue, counted from 0, or of a setting in it."""
        if not self._blocks:
            return f"{self._name}, cue {number + 1}"
        start, block = self._blocks[number]
        line = self._text.count("\n", 0, start) + 1
        if setting and (found := line_of(setting, block)):
            line += found - 1
        return f"{self._name}, line {line}"


def _blocks(text: str, starts: list[int]) -> Iterator[tuple[int, str]]:
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        block = text[start:end]
        yield start, block
