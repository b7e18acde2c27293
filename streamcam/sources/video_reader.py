"""Video files read through PyAV: every frame, in order, at its own time."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import av

from streamcam.errors import MediaError
from streamcam.sources.timeline import Timeline
from streamcam.sources.video_decoder import VideoDecoder
from streamcam.types import Frame

log = logging.getLogger(__name__)


class VideoReader:
    """The first video track of a file, shown as its metadata says; what is damaged is skipped.

    Args:
        path: the file.
        report: takes a line about damaged frames, at the end; the log by default.

    Raises:
        MediaError: it is no video, or damaged; frames before the damage were yielded.
    """

    def __init__(self, path: Path, report: Callable[[str], None] = log.warning) -> None:
        self._path = path
        self._report = report
        try:
            # An absolute path: FFmpeg takes "take:1.mp4" for the protocol "take".
            self._container = av.open(str(path.absolute()), metadata_errors="replace")
        except (av.error.FFmpegError, OSError) as error:
            raise MediaError(
                f"cannot read {path}: {error.strerror or error};"
                " it should be a video, an image, a folder of images or a .npy array"
            ) from None
        try:
            self._decoder = VideoDecoder(self._container, ahead=True)
        except ValueError as error:
            self._container.close()
            raise MediaError(f"{path} {error}") from None
        self.rate = self._decoder.rate
        self.length = self._decoder.track.frames or self._estimated_length()

    def _estimated_length(self) -> int | None:
        duration = self._container.duration
        return round(duration / av.time_base * self.rate) if duration else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        timeline = Timeline(float(1 / self.rate), may_jump=self._decoder.may_jump)
        index = -1
        try:
            for index, (image, time) in enumerate(self._decoder):
                yield Frame(image, index, timeline.place(time))
        except av.error.FFmpegError as error:
            raise MediaError(
                f"{self._path} is damaged after frame {index}: {error.strerror};"
                f" --frames {index + 1} takes what comes before"
            ) from None
        if index < 0:
            raise MediaError(f"{self._path} holds no frames{self._reason()}")
        if damaged := self._decoder.damaged:
            self._report(f"{self._path}: damaged frames: {damaged}; read: {index + 1}")

    def _reason(self) -> str:
        error = self._decoder.last_error
        return f": {error.strerror}" if error else ""
