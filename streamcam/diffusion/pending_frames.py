"""Queue of the frames whose output is not out yet; keeps them in order."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from streamcam.frames.transfer import DownloadedImage
from streamcam.pixels import Vector
from streamcam.types import Frame


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """A frame that waits for its output."""

    index: int
    captured_at: float
    skipped: bool
    """Whether it is shown with the output of the frame before it."""
    vector: Vector | None
    """The frame as the similarity filter compares it; None if it was skipped or not compared."""
    duration: float | None = None

    def output(self, image: DownloadedImage, made_of: int | None = None) -> Frame:
        """Return the output frame that shows `image`, which may belong to another frame."""
        return Frame(
            image.image, self.index, self.captured_at, image.packed, self.duration, made_of
        )


def _pending(frame: Frame, *, skipped: bool, vector: Vector | None) -> PendingFrame:
    return PendingFrame(frame.index, frame.captured_at, skipped, vector, frame.duration)


class PendingDownload(NamedTuple):
    """Output frames whose images are being copied from the device."""

    frames: list[Frame]
    wait: Callable[[], None]
    """Must be called before the images are read."""


class PendingFrames:
    """Frames in flight, in the order they came, and the download in progress.

    `gathered` counts those that wait for the next call of the models.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Assign all state: no frame is pending."""
        self.gathered = 0
        self._queue: deque[PendingFrame] = deque()
        self._download: PendingDownload | None = None
        self._last_image: DownloadedImage | None = None
        self._last_index: int | None = None
        self.last_shown: Vector | None = None
        """The newest processed frame that has its output, as the similarity filter compares it."""

    def __bool__(self) -> bool:
        """Return whether any frame still waits for its output."""
        return bool(self._queue)

    def add(self, frame: Frame, vector: Vector | None) -> None:
        """Add a frame that the models process."""
        self._queue.append(_pending(frame, skipped=False, vector=vector))
        self.gathered += 1

    def add_skipped(self, frame: Frame) -> list[Frame]:
        """Add a frame that is shown with the output of the frame before it.

        Returns:
            The frames whose outputs are here: the download in progress, and then the skipped
            ones whose turn it is.
        """
        self._queue.append(_pending(frame, skipped=True, vector=None))
        return self.finish_download() + self._repeat_last_image()

    def start_download(self, images: list[DownloadedImage], wait: Callable[[], None]) -> None:
        """Give the oldest frames their images, which may be read after `wait`.

        Images beyond the pending frames are left out: they only filled up the last call.
        The download before this one must be finished.
        """
        frames: list[Frame] = []
        for image in images:
            if not self._queue:
                break
            pending = self._queue.popleft()
            self._last_image, self._last_index = image, pending.index
            self.last_shown = pending.vector
            frames.append(pending.output(image))
            frames += self._repeat_last_image()
        self._download = PendingDownload(frames, wait)

    def finish_download(self) -> list[Frame]:
        """Wait for the download in progress, if there is one, and return its frames."""
        if self._download is None:
            return []
        (frames, wait), self._download = self._download, None
        wait()
        return frames

    def _repeat_last_image(self) -> list[Frame]:
        """Return the skipped frames that are next in the queue, with the last image."""
        frames: list[Frame] = []
        while self._queue and self._queue[0].skipped and self._last_image is not None:
            frames.append(self._queue.popleft().output(self._last_image, self._last_index))
        return frames
