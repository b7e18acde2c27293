"""Live recordings of the output, each with a cue file that repeats the show offline."""

import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Self

from streamcam.errors import MediaError
from streamcam.settings.parameters import Parameters
from streamcam.sinks.atomic_file import explain_os_error, numbered_paths, temporary_path
from streamcam.sinks.cue_recorder import CueWriter
from streamcam.sinks.video_writer import CONTAINERS, Encoder, VideoWriter
from streamcam.types import BroadcastView, Frame

log = logging.getLogger(__name__)

# Fast presets: everything else runs at the same time, perhaps on two cores.
H264: Encoder = ("libx264", {"crf": "20", "preset": "superfast", "tune": "zerolatency"})
VP9: Encoder = ("libvpx-vp9", {"crf": "28", "b": "0", "deadline": "realtime", "cpu-used": "8"})
ENCODERS = dict.fromkeys(CONTAINERS, H264) | {".webm": VP9}

MIN_FREE_BYTES = 50_000_000


class Recorder:
    """Records to `path`, then to `path` with -2, -3, …: one file for each time `record` is on.

    No file is overwritten. A recording is kept however it ends: while it grows it is playable
    under its temporary name, and when it ends, by an error too, it gets its own.

    Args:
        path: a video; its folder must exist.
        rate: frames per second of the video. Each frame goes to the nearest place of this grid
            by the clock: a late one leaves a gap, and the recording never drifts.
        view: its newest parameters switch the recording, its applied ones go to the cue file.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction,
        view: BroadcastView,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._rate = rate
        self._view = view
        self._clock = clock
        self._recording: Recording | None = None
        self.saved: Path | None = None
        """The video that was completed last."""

    @property
    def recording(self) -> Path | None:
        """The video that is being written, None while there is none."""
        recording = self._recording
        return recording.path if recording else None

    def __enter__(self) -> Self:
        return self

    def send(self, frame: Frame) -> None:
        """Record `frame` if the live parameter `record` is on.

        Raises:
            MediaError: it cannot be written; what was recorded until then is kept.
        """
        if not self._view.parameters().record:
            self._end()
            return
        if self._recording is None:
            self._recording = self._begin()
            log.info("recording %s", self._recording.path)
        try:
            self._recording.write(frame, self._clock(), *self._view.applied_parameters())
        except MediaError as error:
            raise self._keep_after(error) from None

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _begin(self) -> "Recording":
        try:
            if shutil.disk_usage(self.path.absolute().parent).free < MIN_FREE_BYTES:
                raise MediaError(
                    f"cannot record {self.path}: less than {MIN_FREE_BYTES // 10**6} MB are free"
                    " on the disk; free some space or choose another place"
                )
            return Recording(self.path, self._rate)
        except OSError as error:
            raise MediaError(f"cannot record {self.path}: {explain_os_error(error)}") from None

    def _end(self) -> None:
        if self._recording:
            try:
                self._recording.finish()
            except MediaError as error:
                raise self._keep_after(error) from None
            self.saved = self._recording.path
            log.info("recorded %s, and its cues %s", *self._recording.paths)
            self._recording = None

    def _keep_after(self, error: MediaError) -> MediaError:
        """Close the recording that `error` ended; return the error with the path that is kept."""
        assert self._recording is not None
        recording, self._recording = self._recording, None
        path = recording.keep()
        self.saved = path or self.saved
        return MediaError(f"{error}; recorded until then: {path}" if path else str(error))


class Recording:
    """One recording in progress: a video and its cue file.

    Raises:
        OSError: the cue file cannot be made.
        MediaError: the video cannot be made.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        self.path, self._cues = _reserve(path)
        self._video = VideoWriter(self.path, rate, ENCODERS)
        self._rate = rate
        self._start: float | None = None
        self._last_place = -1
        try:
            self._video.begin()
        except BaseException:
            self._close_cues()
            raise

    @property
    def paths(self) -> tuple[Path, Path]:
        """The video and its cue file."""
        return self.path, self._cues.path

    def write(self, frame: Frame, now: float, applied_from: int, parameters: Parameters) -> None:
        """Put `frame` on the grid; it is dropped where its place and the next one are taken.

        Args:
            frame: the output, whatever its own time.
            now: monotonic seconds, which decide its place.
            applied_from: index of the first frame made with `parameters`.
            parameters: the live values that the model has.
        """
        with self._video.explained_errors():
            self._cues.write(applied_from if self._cues.started else frame.index, parameters)
        if self._start is None:
            self._start = now
        due = round((now - self._start) * self._rate)
        if self._last_place > due:
            return
        place = max(due, self._last_place + 1)
        self._video.send(Frame(frame.image, place, float(place / self._rate)))
        self._last_place = place

    def finish(self) -> None:
        """Close both files and move the video to its own name."""
        with self._video.explained_errors():
            self._video.finish()
            self._cues.close()
        self._video.publish()

    def keep(self) -> Path | None:
        """Close after an error, without raising; return the path of the video, None if empty."""
        if self._last_place < 0:
            self._discard()
            return None
        self._video.abort()
        with suppress(OSError):
            self._cues.close()
        try:
            self._video.publish()
        except MediaError:
            return self._video.temporary_path
        return self.path

    def _discard(self) -> None:
        self._video.discard()
        self._close_cues()

    def _close_cues(self) -> None:
        with suppress(OSError):
            self._cues.close()
        self._cues.path.unlink(missing_ok=True)


def _reserve(wanted: Path) -> tuple[Path, CueWriter]:
    """Return the first free name, passing over what a crash left, with its cue file.

    The cue file is created here, which reserves the name.
    """
    for path in numbered_paths(wanted):
        if os.path.lexists(path) or os.path.lexists(temporary_path(path)):
            continue
        with suppress(FileExistsError):
            return path, CueWriter(path.with_name(f"{path.stem}.cues.jsonl"))
    raise AssertionError("names never end")
