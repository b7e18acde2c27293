"""Snapshots of the output, saved as PNG whenever the operator requests one."""

import logging
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self

import cv2

from streamcam.errors import MediaError
from streamcam.sinks.atomic_file import (
    explain_os_error,
    numbered_paths,
    rename_to_free,
    temporary_path,
)
from streamcam.system.paths import expanded, snapshots_folder
from streamcam.types import BroadcastView, Frame, Image

log = logging.getLogger(__name__)


class SnapshotWriter:
    """Saves the next frame each time the live counter `snapshot` has changed.

    A failed save is raised from `send` once and not tried again; the next request is.

    Args:
        folder: destination, made when the first snapshot is saved; by default ``streamcam`` in
            the user's pictures folder.
        view: gives the newest parameters, which hold the counter.
        now: returns the time of day that names the files.
    """

    def __init__(
        self, folder: Path | None, view: BroadcastView, now: Callable[[], datetime] = datetime.now
    ) -> None:
        self._folder = folder
        self._view = view
        self._now = now
        self._last_counter: int | None = None
        self.saved: Path | None = None
        """The snapshot that was saved last."""

    def __enter__(self) -> Self:
        # Kept when the sink is entered again: a snapshot requested in between is still due.
        if self._last_counter is None:
            self._last_counter = self._counter()
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def send(self, frame: Frame) -> None:
        """Save `frame` if a snapshot was requested since the last one.

        Raises:
            MediaError: it cannot be written.
        """
        counter = self._counter()
        if counter != self._last_counter:
            self._last_counter = counter
            self.saved = save_snapshot(frame.image, self._destination(), self._now())
            log.info("saved the snapshot %s", self.saved)

    def _destination(self) -> Path:
        return expanded(self._folder) if self._folder else snapshots_folder()

    def _counter(self) -> int:
        return self._view.parameters().snapshot


def save_snapshot(image: Image, folder: Path, moment: datetime) -> Path:
    """Write `image` as ``streamcam-YYYYmmdd-HHMMSS[-n].png`` and return the path.

    The file appears complete, under a name that no other file has.

    Raises:
        MediaError: it cannot be written.
    """
    # Level 1: a fifth of the default's time for a file a tenth larger.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _reserve(folder / f"streamcam-{moment:%Y%m%d-%H%M%S}.png")
        temporary = temporary_path(path)
        try:
            temporary.write_bytes(png.data)
            rename_to_free(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise MediaError(
            f"cannot save a snapshot into {folder}: {explain_os_error(error)}"
        ) from None
    return path


def _reserve(wanted: Path) -> Path:
    """Return a free name, and create its temporary file, which reserves it."""
    for path in numbered_paths(wanted):
        temporary = temporary_path(path)
        try:
            temporary.touch(exist_ok=False)
        except FileExistsError:
            continue
        if not os.path.lexists(path):
            return path
        temporary.unlink()
    raise AssertionError("names never end")
