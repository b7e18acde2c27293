"""Cue files as they are written live: what an operator changed, by frame number, as JSON Lines."""

import json
from pathlib import Path
from typing import Any

from streamcam.settings.parameters import Parameters


class CueWriter:
    """A cue file that grows with a show; every line is in the file as soon as it is noted.

    The first line holds all live values, so that a render which is given the file repeats the
    show whatever it would have begun with; each line after it, what has changed.

    Raises:
        FileExistsError: there is such a file already.
        OSError: it cannot be made or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("x", encoding="utf-8", newline="\n", buffering=1)
        self._frame = 0
        self._noted: Parameters | None = None

    def note(self, frame: int, parameters: Parameters) -> None:
        """Write down what is new in `parameters`, in force from `frame` on.

        Frames never go back: readers take the lines in the order of their frames.
        """
        if parameters is self._noted:
            return
        self._frame = max(self._frame, frame)
        if changes := changed(self._noted, parameters):
            self._file.write(json.dumps({"frame": self._frame} | changes) + "\n")
        self._noted = parameters

    @property
    def begun(self) -> bool:
        """Whether there is a first line."""
        return self._noted is not None

    def close(self) -> None:
        self._file.close()


def changed(before: Parameters | None, after: Parameters) -> dict[str, Any]:
    """Return the fields of `after` that `before` has otherwise, as JSON can hold them."""
    return {
        name: value
        for name, value in after.model_dump(mode="json").items()
        if before is None or getattr(before, name) != getattr(after, name)
    }
