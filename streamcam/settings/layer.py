"""Settings with the places where they were given, so that an error can name the file and line."""

import re
import tomllib
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

Place = Callable[[str], str]
"""Returns where a setting was given, such as ``my.toml, line 3``; an empty text if unknown."""

MAX_CANDIDATES = 100


class Layer(dict[str, Any]):
    """Settings by name, and the place of each."""

    def __init__(self, values: Mapping[str, Any], place: Place) -> None:
        super().__init__(values)
        self.place = place


def toml_layer(text: str, name: str) -> Layer:
    """Return the settings of a TOML file.

    Args:
        text: content of the file.
        name: name of the file, as errors show it.

    Raises:
        ValueError: it is not valid TOML, or holds a number that is too long.
        RecursionError: it is nested too deeply.
    """

    def place(setting: str) -> str:
        line = line_of(setting, text)
        return f"{name}, line {line}" if line else name

    return Layer(tomllib.loads(text), place)


def line_of(key: str, text: str) -> int | None:
    """Return the number of the line that sets the top-level `key` in the TOML `text`."""
    pattern = rf"^[ \t]*(?P<table>\[{{1,2}}[ \t]*)?(?P<key>([\"']?){re.escape(key)}\3)[ \t]*[=.\]]"
    for match in islice(re.finditer(pattern, text, re.MULTILINE), MAX_CANDIDATES):
        # Whether it is no part of a text or of another table, a parser has to say.
        setting = f"[{match['key']}]" if match["table"] else f"{match['key']} = 0"
        before = text[: match.start()]
        try:
            if key in tomllib.loads(f"{before}{setting}"):
                return before.count("\n") + 1
        except tomllib.TOMLDecodeError:
            continue
    return None


def place_of(name: str, layer: Mapping[str, Any]) -> str:
    """Return where the setting `name` of `layer` was given, an empty text if that is unknown."""
    return layer.place(name) if isinstance(layer, Layer) else ""
