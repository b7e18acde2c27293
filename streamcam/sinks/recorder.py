"""Live recordings: what went out, and beside it the cue file that repeats the show."""

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

# Everything else runs beside it, perhaps on two cores.
H264: Encoder = ("libx264", {"crf": "20", "preset": "superfast", "tune": "zerolatency"})
VP9: Encoder = ("libvpx-vp9", {"crf": "28", "b": "0", "deadline": "realtime", "cpu-used": "8"})
ENCODERS = dict.fromkeys(CONTAINERS, H264) | {".webm": VP9}

MIN_FREE_BYTES = 50_000_000


class Recorder:
    """Records to `path`, then to `path` with -2, -3, …: one file for each time `record` is on.

    No file is written over. A recording is kept whatever ends it: while it grows it lies,
    playable, under its partial name, and when it ends, by an error too, it gets its own.

    Args:
        path: a video; its folder must exist.
        rate: pictures per second, on whose grid they are laid by the clock: what is late
            leaves a gap, and the recording never drifts.
        view: whose newest snapshot is obeyed, and whose applied one is noted.
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
        self._take: Recording | None = None

    def __enter__(self) -> Self:
        return self

    def send(self, frame: Frame) -> None:
        """Record `frame` where it is due, if the newest snapshot says so.

        Raises:
            MediaError: it cannot be written; what was recorded until then is kept.
        """
        if not self._view.parameters().record:
            self._end()
            return
        if self._take is None:
            self._take = self._begun()
        try:
            self._take.write(frame, self._clock(), *self._view.applied_parameters())
        except MediaError as error:
            raise self._kept(error) from None

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _begun(self) -> "Recording":
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
        if self._take:
            try:
                self._take.finish()
            except MediaError as error:
                raise self._kept(error) from None
            self._take = None

    def _kept(self, error: MediaError) -> MediaError:
        """Close what `error` has ended; return it with the word where the recording is."""
        assert self._take is not None
        take, self._take = self._take, None
        kept = take.keep()
        return MediaError(f"{error}; recorded until then: {kept}" if kept else str(error))


class Recording:
    """One recording under way: a video, and the cues beside it.

    Raises:
        OSError: the cue file cannot be made.
        MediaError: the video cannot be made.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        self.path, self._cues = _reserved(path)
        self._video = VideoWriter(self.path, rate, ENCODERS)
        self._rate = rate
        self._start: float | None = None
        self._last = -1
        try:
            with self._video.reporting():
                self._video.begin()
        except BaseException:
            self._discard()
            raise

    def write(self, frame: Frame, now: float, ruled_from: int, parameters: Parameters) -> None:
        """Lay `frame` on the grid; it is left out where its place and the next one are taken."""
        with self._video.reporting():
            self._cues.note(ruled_from if self._cues.begun else frame.index, parameters)
        if self._start is None:
            self._start = now
        due = round((now - self._start) * self._rate)
        if self._last > due:
            return
        place = max(due, self._last + 1)
        self._video.send(Frame(frame.image, place, float(place / self._rate)))
        self._last = place

    def finish(self) -> None:
        """Close both files and move the video to its own name."""
        with self._video.reporting():
            self._video.finish()
            self._video.publish()
            self._cues.close()

    def keep(self) -> Path | None:
        """Close what an error has ended, without raising; return where the pictures are, if any."""
        if self._last < 0:
            self._discard()
            return None
        self._video.abandon()
        with suppress(OSError):
            self._cues.close()
        with suppress(OSError):
            self._video.publish()
        return self.path if self.path.exists() else self._video.partial

    def _discard(self) -> None:
        self._video.discard()
        with suppress(OSError):
            self._cues.close()
        self._cues.path.unlink(missing_ok=True)


def _reserved(wanted: Path) -> tuple[Path, CueWriter]:
    """Return the first name that is free, also beside what a crash left, and its cue file.

    The cue file comes into being here, so that no one else takes the name.
    """
    for path in numbered_paths(wanted):
        if path.exists() or temporary_path(path).exists():
            continue
        with suppress(FileExistsError):
            return path, CueWriter(path.with_name(f"{path.stem}.cues.jsonl"))
    raise AssertionError("names never end")
