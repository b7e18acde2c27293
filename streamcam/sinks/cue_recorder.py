"""Cue files written live: every change of a live parameter by frame index, as JSON Lines."""

import json
from pathlib import Path
from typing import Any

from streamcam.settings.parameters import Parameters


class CueWriter:
    """A cue file that grows during a show; every line is in the file as soon as it is written.

    The first line holds all live values, so that a render given the file repeats the show whatever
    values it starts with; each line after it holds only what changed.

    Raises:
        FileExistsError: there is such a file already.
        OSError: it cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("x", encoding="utf-8", newline="\n", buffering=1)
        self._frame = 0
        self._last: Parameters | None = None

    def write(self, frame: int, parameters: Parameters) -> None:
        """Write what changed in `parameters`, which apply from the frame of index `frame` on.

        Frames never go back: readers take the lines in the order of their frames.
        """
        if parameters is self._last:
            return
        self._frame = max(self._frame, frame)
        if changes := changed(self._last, parameters):
            self._file.write(json.dumps({"frame": self._frame} | changes) + "\n")
        self._last = parameters

    @property
    def started(self) -> bool:
        """Whether there is a first line."""
        return self._last is not None

    def close(self) -> None:
        self._file.close()


def changed(before: Parameters | None, after: Parameters) -> dict[str, Any]:
    """Return the fields of `after` that differ from `before`, as JSON can hold them."""
    return {
        name: value
        for name, value in after.model_dump(mode="json").items()
        if before is None or getattr(before, name) != getattr(after, name)
    }
