"""Cues: live changes by frame number in a JSON Lines file, so that a show can be repeated.

``{"frame": 40, "prompt": "neon", "guidance_scale": 1.4}`` applies from frame 40 on.
"""

import codecs
import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from streamcam.errors import MediaError, ParameterError
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.system.regular_file import read_regular

MAX_BYTES = 256_000_000
"""Room for a day of changes at every frame."""
MAX_LINE = 262_144
"""Characters: room for as many prompts as are allowed, at their longest, as escapes."""
MAX_FRAME = 1 << 53
Changes = dict[str, Any]


class Cues:
    """The changes of one show, all of them checked before it begins."""

    def __init__(self, changes: Mapping[int, Sequence[Changes]]) -> None:
        self._changes = changes

    def __call__(self, frame: int, parameters: Parameters) -> Parameters:
        """Return the snapshot from `frame` on: `parameters` with the changes due there."""
        for changes in self._changes.get(frame, ()):
            parameters = parameters.changed(changes)
        return parameters


class CueText(Mapping[int, Sequence[Changes]]):
    """The changes of each frame, kept as the lines of a file and parsed when they are due.

    A show of hours has hundreds of thousands, which would take a kilobyte each as objects.

    Raises:
        ParameterError: a line is no cue; the message calls the file `name`.
        UnicodeDecodeError: it is not UTF-8 text.
    """

    def __init__(self, text: bytes, name: str) -> None:
        self._text = text
        frames, places = array("q"), array("q")
        for number, (place, line) in enumerate(_lines(text), start=1):
            if line.strip():
                frames.append(_frame_of(line, f"{name}, line {number}"))
                places.append(place)
        unsorted = np.array(frames, np.int64)
        order = np.argsort(unsorted, kind="stable")
        self._frames = unsorted[order]
        self._places = np.array(places, np.int64)[order]

    def __getitem__(self, frame: int) -> list[Changes]:
        first, end = np.searchsorted(self._frames, (frame, frame + 1))
        if first == end:
            raise KeyError(frame)
        return [self._changes(int(place)) for place in self._places[first:end]]

    def __iter__(self) -> Iterator[int]:
        return iter(np.unique(self._frames).tolist())

    def __len__(self) -> int:
        return len(np.unique(self._frames))

    def lines(self) -> Iterator[tuple[int, Changes]]:
        """Yield the place in the text and the changes of each cue, in the order they are due."""
        for place in self._places:
            yield int(place), self._changes(int(place))

    def _changes(self, place: int) -> Changes:
        end = self._text.find(b"\n", place)
        changes: Changes = json.loads(self._text[place : end if end >= 0 else None])
        del changes["frame"]
        return changes


def read_cues(path: Path, config: Config) -> Cues:
    """Return the cues in `path`, after a trial run of them all from the start of the show.

    Args:
        path: JSON Lines; cues of one frame apply in their order.
        config: settings that the show runs with.

    Raises:
        MediaError: the file cannot be read.
        ParameterError: a line is no cue, or its change is refused; the line is named.
    """
    try:
        text = read_regular(path, MAX_BYTES).removeprefix(codecs.BOM_UTF8)
        cues = CueText(text, str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise MediaError(f"cannot read the cues {path}: {reason}") from None
    parameters = config.live
    for place, changes in cues.lines():
        try:
            parameters = config.changed(parameters, changes)
        except ParameterError as error:
            line = text.count(b"\n", 0, place) + 1
            raise ParameterError(f"{path}, line {line}: {error}") from None
    return Cues(cues)


def _lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each line and its place, one in memory at a time."""
    place = 0
    # Not splitlines(), which also splits at a carriage return within a text.
    while (end := text.find(b"\n", place)) >= 0:
        yield place, text[place:end]
        place = end + 1
    yield place, text[place:]


def _frame_of(line: bytes, name: str) -> int:
    """Return the frame of the cue in a line, which messages call `name`."""
    if len(line) > 4 * MAX_LINE or len(text := line.decode()) > MAX_LINE:
        raise ParameterError(f"{name}: longer than {MAX_LINE} characters")
    try:
        cue = json.loads(text)
    except (ValueError, RecursionError):
        raise ParameterError(f'{name} is not JSON; a cue is {{"frame": 40, "seed": 7}}') from None
    frame = cue.get("frame") if isinstance(cue, dict) else None
    if not isinstance(frame, int) or isinstance(frame, bool) or not 0 <= frame <= MAX_FRAME:
        raise ParameterError(f'{name} has no "frame"; a cue is {{"frame": 40, "seed": 7}}')
    return frame
