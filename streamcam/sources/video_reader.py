"""Video files read through PyAV: every frame, in order, at its own time."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.stream import Disposition
from av.video.frame import VideoFrame

from streamcam.errors import MediaError
from streamcam.types import Frame, Image

COVER = Disposition.attached_pic


class VideoReader:
    """The first video track of a file, turned upright as its metadata says.

    Raises:
        MediaError: it is no video, or damaged; frames before the damage were yielded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # An absolute path: FFmpeg takes "take:1.mp4" for the protocol "take".
            self._container = av.open(str(path.absolute()))
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(
                f"cannot read {path}: {error.strerror or error};"
                " it should be a video, an image, a folder of images or a .npy array"
            ) from None
        tracks = [t for t in self._container.streams.video if not t.disposition & COVER]
        # FFmpeg decodes plain text as the screen of a terminal.
        if not tracks or self._container.format.name == "tty":
            self._container.close()
            raise MediaError(f"{path} has no video track")
        self._track = tracks[0]
        self._track.thread_type = "AUTO"
        self.rate = self._track.average_rate or self._track.guessed_rate or Fraction(30)
        self.length = self._track.frames or self._estimated_length()

    def _estimated_length(self) -> int | None:
        duration = self._container.duration
        return round(duration / av.time_base * self.rate) if duration else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        start: float | None = None
        index = -1
        try:
            for index, decoded in enumerate(self._container.decode(self._track)):
                time = float(index / self.rate) if decoded.time is None else decoded.time
                start = time if start is None else start
                yield Frame(upright(decoded), index, time - start)
        except av.error.FFmpegError as error:
            raise MediaError(
                f"{self._path} is damaged after frame {index}: {error.strerror};"
                f" --frames {index + 1} takes what comes before"
            ) from None
        if index < 0:
            raise MediaError(f"{self._path} holds no frames")


def upright(decoded: VideoFrame) -> Image:
    """Return the frame as ``(H, W, 3)`` uint8 RGB, turned upright by its rotation metadata."""
    image: Image = decoded.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    quarter_turns = round(getattr(decoded, "rotation", 0) / 90) % 4
    return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image
