"""Network streams through PyAV, decoded in a thread of their own that can be left at any time."""

import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Self

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from streamcam.errors import DeviceError
from streamcam.sources.url_schemes import SCHEMES, STORED_SCHEMES
from streamcam.sources.video_reader import COVER, upright
from streamcam.types import Frame, Image

# Protocols that a playlist may lead on to: never to files of this machine.
WHITELIST = ",".join((*SCHEMES, "tls", "crypto", "httpproxy", "rtmpt", "rtmpe", "dtls", "srtp"))
OPTIONS = {
    "protocol_whitelist": WHITELIST,
    "flags": "low_delay",
    "rtsp_flags": "prefer_tcp",
}
LIVE_OPTIONS = {"analyzeduration": "1000000"}
"""A second is enough to find the tracks; FFmpeg takes five where there is no sound."""
OPEN_S = 10.0
READ_S = {True: 10.0, False: 5.0}
"""Longest silence of a stored (True) or live stream: a playlist's segments lie seconds apart."""
POLL_S = 0.2


class NetworkStream:
    """The first video track of a stream, stamped with the monotonic clock as it is decoded.

    Raises DeviceError when the stream cannot be opened, ends or stops; it may be entered again,
    which reconnects.
    """

    length: int | None = None

    def __init__(self, url: str) -> None:
        self.rate = Fraction(30)
        self._url = url
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        """Begin to connect; iterating raises where that fails."""
        self._decoder = _DecoderThread(self._url)
        self._decoder.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the thread to end by itself: FFmpeg cannot be interrupted, only run out of time."""
        self._decoder.cancelled.set()

    def stop(self) -> None:
        """End the iteration at once, for good; callable from any thread."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Frame]:
        last_arrival, limit_s, index = time.monotonic(), OPEN_S + 1, 0
        while not self._stopped.is_set():
            try:
                received = self._decoder.images.get(timeout=POLL_S)
            except queue.Empty:
                if time.monotonic() - last_arrival > limit_s:
                    raise DeviceError(
                        f"{without_password(self._url)}: no frame for {limit_s:.0f} s"
                    ) from None
                continue
            if isinstance(received, BaseException):
                raise received
            last_arrival, limit_s = time.monotonic(), READ_S[is_stored(self._url)] + 1
            self.rate = self._decoder.rate
            yield Frame(received, index, last_arrival)
            index += 1


class _DecoderThread(threading.Thread):
    """Decodes until it is cancelled or the stream ends, at most two images ahead."""

    def __init__(self, url: str) -> None:
        super().__init__(name="url", daemon=True)
        self.rate = Fraction(30)
        self.cancelled = threading.Event()
        self.images: queue.Queue[Image | BaseException] = queue.Queue(2)
        self._url = url

    def run(self) -> None:
        url = without_password(self._url)
        try:
            self._decode()
            self._put(DeviceError(f"{url} has ended"))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._put(DeviceError(f"cannot read {url}: {_reason(error)}"))
        except BaseException as error:
            self._put(error)  # The reader would wait for a thread that is gone.

    def _decode(self) -> None:
        stored = is_stored(self._url)
        options = OPTIONS if stored else OPTIONS | LIVE_OPTIONS
        timeouts = (OPEN_S, READ_S[stored])
        with av.open(self._url, options=options, timeout=timeouts) as container:
            tracks = [t for t in container.streams.video if not t.disposition & COVER]
            if not tracks or container.format.name == "tty":
                raise ValueError("it has no video track")
            self.rate = tracks[0].average_rate or tracks[0].guessed_rate or self.rate
            offset: float | None = None
            for frame in _decoded(container, tracks[0]):
                if stored and frame.time is not None:
                    offset = self._pace(frame.time, offset)
                if not self._put(upright(frame)):
                    return

    def _pace(self, presented_at: float, offset: float | None) -> float:
        """Wait until the frame is due; return the stream's time less the clock's, in seconds."""
        now = time.monotonic()
        early = presented_at - now - offset if offset is not None else 0.0
        if offset is None or not 0 <= early <= READ_S[True]:
            # The first one, a late one, or a jump in the stream's time: it is due now.
            return presented_at - now
        self.cancelled.wait(early)
        return offset

    def _put(self, item: Image | BaseException) -> bool:
        """Queue `item`; return False once the thread is cancelled."""
        while not self.cancelled.is_set():
            try:
                self.images.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False


def _decoded(container: InputContainer, track: VideoStream) -> Iterator[VideoFrame]:
    for packet in container.demux(track):
        # A stream joined in the middle, or with lost packets, lacks what some frames refer to.
        with suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.ExitError):
        return "it does not answer"
    if isinstance(error, av.error.ProtocolNotFoundError):
        return "the FFmpeg that PyAV brings does not support this protocol"
    return getattr(error, "strerror", None) or str(error)


def is_stored(url: str) -> bool:
    """Return whether `url` may lead to a file, which arrives faster than it is to be shown."""
    return url.partition(":")[0].lower() in STORED_SCHEMES


def without_password(url: str) -> str:
    """Return `url` without the user, password and query that it may hold."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
