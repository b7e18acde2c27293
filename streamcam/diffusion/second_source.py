"""Images of a second source, for a ControlNet: the newest on air, one with each frame in a file."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sources.source_table import is_source_kind, open_file_source, open_source
from streamcam.system.paths import expanded
from streamcam.system.supervised_thread import SupervisedThread
from streamcam.types import Frame, Image

log = logging.getLogger(__name__)


class SecondSource(Protocol):
    """Gives images that go with the camera's frames."""

    problem: str
    """A line on why there are no new images; empty while there are."""

    def next_image(self) -> Image | None:
        """Return the image for the next frame; None before the first."""


OpenSecond = Callable[[str, BroadcastSettings], SecondSource]
"""Opens the second source that a spec names."""


class NewestImage:
    """The newest image of a live source, which is read in a thread.

    If the source stops, its last image is held, and it is opened again.

    Args:
        spec: as `open_source` takes it.
        settings: those of the broadcast.
    """

    def __init__(self, spec: str, settings: BroadcastSettings) -> None:
        self._source = open_source(spec, settings)
        self._spec = spec
        self._newest: Image | None = None
        self.problem = f"no image of the control source {spec} yet"
        self._stopping = threading.Event()
        self._thread = SupervisedThread(
            "control source", self._read, self._stopping, on_error=self._failed
        )
        self._thread.start()

    def next_image(self) -> Image | None:
        return self._newest

    def close(self) -> None:
        """Stop reading; returns at once."""
        self._stopping.set()
        self._source.stop()

    def _read(self) -> None:
        with self._source as source:
            for frame in source:
                if self._stopping.is_set():
                    return
                self._newest, self.problem = frame.image, ""
        self._hold("has ended")

    def _failed(self, error: BaseException) -> None:
        self._hold(f"has stopped ({error})")

    def _hold(self, why: str) -> None:
        held = "its last image is held" if self._newest is not None else "it has given no image"
        problem = f"the control source {self._spec} {why}: {held}"
        if problem != self.problem:
            log.warning(problem)
        self.problem = problem


class ImagePerFrame:
    """The images of a file, one for each frame of the camera; the last one stays.

    Args:
        spec: the path of a file.
        settings: those of the broadcast.
    """

    problem = ""

    def __init__(self, spec: str, settings: BroadcastSettings) -> None:
        self._source = open_file_source(expanded(spec.removeprefix("file:")), settings.rate)
        self._frames: Iterator[Frame] | None = None
        self._last: Image | None = None

    def next_image(self) -> Image | None:
        if self._frames is None:
            self._frames = iter(self._source.__enter__())
        frame = next(self._frames, None)
        if frame is not None:
            self._last = frame.image
        return self._last


def open_for_render(spec: str, settings: BroadcastSettings) -> SecondSource:
    """Open a second source where every frame is wanted: files frame by frame."""
    if is_source_kind(spec):
        return NewestImage(spec, settings)
    return ImagePerFrame(spec, settings)
