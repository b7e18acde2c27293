"""Snapshots: what is on air as a PNG, whenever the operator asks for one."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self

import cv2

from streamcam.errors import MediaError
from streamcam.sinks.atomic_file import explain_os_error, numbered_paths, temporary_path
from streamcam.types import BroadcastView, Frame, Image


class SnapshotWriter:
    """Saves the picture at hand each time the live counter `snapshot` has moved.

    A failed save is raised from `send` once and not tried again; the next request is.

    Args:
        folder: where to; it is made when the first snapshot is saved.
        view: whose newest snapshot holds the counter.
        now: the time of day that names the files.
    """

    def __init__(
        self, folder: Path, view: BroadcastView, now: Callable[[], datetime] = datetime.now
    ) -> None:
        self._folder = folder
        self._view = view
        self._now = now
        self._seen: int | None = None

    def __enter__(self) -> Self:
        # Kept when the sink is entered again: what was asked for meanwhile is still wanted.
        if self._seen is None:
            self._seen = self._counter()
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def send(self, frame: Frame) -> None:
        """Save `frame` if a snapshot was asked for since the last one.

        Raises:
            MediaError: it cannot be written.
        """
        counter = self._counter()
        if counter != self._seen:
            self._seen = counter
            save(frame.image, self._folder, self._now())

    def _counter(self) -> int:
        return self._view.parameters().snapshot


def save(image: Image, folder: Path, moment: datetime) -> Path:
    """Write `image` as ``streamcam-YYYYmmdd-HHMMSS[-n].png`` and return the path.

    The file appears whole and takes a name that no file has.

    Raises:
        MediaError: it cannot be written.
    """
    # Level 1: a fifth of the default's time for a file a tenth larger.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _reserved(folder / f"streamcam-{moment:%Y%m%d-%H%M%S}.png")
        partial = temporary_path(path)
        try:
            partial.write_bytes(png.data)
            partial.rename(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise MediaError(
            f"cannot save a snapshot into {folder}: {explain_os_error(error)}"
        ) from None
    return path


def _reserved(wanted: Path) -> Path:
    """Return a free name; its partial name is ours from here on, for all who name this way."""
    for path in numbered_paths(wanted):
        partial = temporary_path(path)
        try:
            partial.touch(exist_ok=False)
        except FileExistsError:
            continue
        if not path.exists():
            return path
        partial.unlink()
    raise AssertionError("names never end")
