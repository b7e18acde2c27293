"""Cues: live changes by frame number in a JSON Lines file, so that a show can be repeated.

``{"frame": 40, "prompt": "neon", "guidance_scale": 1.4}`` applies from frame 40 on.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from streamcam.errors import MediaError, ParameterError
from streamcam.regular_file import read_regular
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters

MAX_BYTES = 256_000_000
"""Room for a day of changes at every frame."""
MAX_LINE = 262_144
"""Characters: room for as many prompts as are allowed, at their longest, as escapes."""


class Cues:
    """The changes of one show, all of them checked before it begins."""

    def __init__(self, changes: dict[int, list[dict[str, Any]]]) -> None:
        self._changes = changes

    def __call__(self, frame: int, parameters: Parameters) -> Parameters:
        """Return the snapshot from `frame` on: `parameters` with the changes due there."""
        for changes in self._changes.get(frame, ()):
            parameters = parameters.changed(changes)
        return parameters


def read_cues(path: Path, config: Config) -> Cues:
    """Return the cues in `path`, after a trial run of them all from the start of the show.

    Args:
        path: JSON Lines; cues of one frame apply in their order.
        config: settings that the show runs with.

    Raises:
        MediaError: the file cannot be read.
        ParameterError: a line is no cue, or its change is refused; the line is named.
    """
    changes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    places: dict[int, list[str]] = defaultdict(list)
    for number, line in enumerate(_read_lines(path), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            cue = _parse_line(line, place)
            frame = cue.pop("frame")
            changes[frame].append(cue)
            places[frame].append(place)
    parameters = config.live
    for frame in sorted(changes):
        for cue, place in zip(changes[frame], places[frame], strict=True):
            try:
                parameters = config.changed(parameters, cue)
            except ParameterError as error:
                raise ParameterError(f"{place}: {error}") from None
    return Cues(dict(changes))


def _read_lines(path: Path) -> list[str]:
    try:
        # Not splitlines(), which also splits where a text holds a U+2028.
        return read_regular(path, MAX_BYTES).decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise MediaError(f"cannot read the cues {path}: {reason}") from None


def _parse_line(line: str, place: str) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise ParameterError(f"{place}: longer than {MAX_LINE} characters")
    try:
        cue = json.loads(line)
    except (ValueError, RecursionError):
        raise ParameterError(f'{place} is not JSON; a cue is {{"frame": 40, "seed": 7}}') from None
    frame = cue.get("frame") if isinstance(cue, dict) else None
    if not isinstance(frame, int) or isinstance(frame, bool) or frame < 0:
        raise ParameterError(f'{place} has no "frame"; a cue is {{"frame": 40, "seed": 7}}')
    return dict(cue)
