"""When to show what comes over the network: at once, or at the stream's own pace."""

import time
from collections.abc import Callable

from av.container import InputContainer
from av.format import Flags

from streamcam.sources.timeline import Timeline
from streamcam.sources.url_schemes import is_http
from streamcam.sources.video_decoder import has_flag

PLAYLISTS = frozenset(("hls", "dash"))
MULTIPART_JPEG = "mpjpeg"
LEAD_S = 10.0
"""Stream time that a live server may send at once when it is opened."""
FILE_SPEED = 1.25
"""A stream that goes on coming faster than time passes by this factor is a file."""
LATE_S = 10.0
"""A frame that is later than this cannot be caught up with."""


class Pacer:
    """Waits until a frame of a stream is due.

    Live streams are shown as they arrive: any wait would stay as a delay for ever. Only what is
    stored arrives faster than it is to be shown: files, and the segments of playlists. An HTTP
    stream without a length counts as live until it has come `LEAD_S` too early, unless its format
    has no times, so that FFmpeg invents some.

    Args:
        url: where the stream comes from.
        container: the open stream.
        period: seconds between frames, where their times do not say.
        wait: waits for so many seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        url: str,
        container: InputContainer,
        period: float,
        wait: Callable[[float], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        playlist = container.format.name in PLAYLISTS
        # Some cameras send their endless MJPEG with an invented length.
        self._live = not is_http(url) or container.format.name == MULTIPART_JPEG
        self._stored = not self._live and (playlist or container.size > 0)
        self._live |= not self._stored and has_flag(container, Flags.no_timestamps)
        self._catches_up = playlist and not container.duration
        may_jump = playlist or has_flag(container, Flags.ts_discont)
        self._timeline = Timeline(period, may_jump=may_jump)
        self._wait = wait
        self._clock = clock
        self._began = (0.0, 0.0)
        """Stream time and clock time of a frame that was due when it came."""
        self._started = False

    def wait_until_due(self, presented_at: float | None) -> None:
        """Wait until the frame that is to be shown at `presented_at`, in stream time, is due."""
        if self._live:
            return
        placed, now = self._timeline.place(presented_at), self._clock()
        if not self._started:
            self._begin(placed, now)
        elapsed = now - self._began[1]
        early = placed - self._began[0] - elapsed
        if not self._stored and early > max(LEAD_S, (FILE_SPEED - 1) * elapsed):
            self._stored = True
            self._begin(placed, now)
        elif early < 0 and not (self._catches_up and early > -LATE_S):
            self._begin(placed, now)
        elif early > 0 and self._stored:
            self._wait(early)

    def _begin(self, placed: float, now: float) -> None:
        self._began, self._started = (placed, now), True
