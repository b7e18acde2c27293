"""Streams from the network, through PyAV: each read in a thread of its own, and let go at once."""

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

# What a playlist may lead on to: never to files of this machine.
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
"""How long a stored or a live stream may be silent: a playlist's segments lie seconds apart."""
LOOK_S = 0.2


class NetworkStream:
    """The first video track of a stream, stamped with the monotonic clock as it is decoded.

    Raises DeviceError when the stream cannot be opened, ends or stops; it may be entered again,
    which connects anew.
    """

    length: int | None = None

    def __init__(self, url: str) -> None:
        self.rate = Fraction(30)
        self._url = url
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        """Begin to connect; whether that succeeds is told by the iteration."""
        self._reader = _Reader(self._url)
        self._reader.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the thread to end by itself: FFmpeg cannot be interrupted, only run out of time."""
        self._reader.left.set()

    def stop(self) -> None:
        """Make the iteration end at once, for good; from any thread."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Frame]:
        heard, patience, index = time.monotonic(), OPEN_S + 1, 0
        while not self._stopped.is_set():
            try:
                came = self._reader.pictures.get(timeout=LOOK_S)
            except queue.Empty:
                if time.monotonic() - heard > patience:
                    raise DeviceError(
                        f"{shown(self._url)}: no picture for {patience:.0f} s"
                    ) from None
                continue
            if isinstance(came, DeviceError):
                raise came
            heard, patience = time.monotonic(), READ_S[is_stored(self._url)] + 1
            self.rate = self._reader.rate
            yield Frame(came, index, heard)
            index += 1


class _Reader(threading.Thread):
    """Decodes until it is left or the stream ends, at most two pictures ahead."""

    def __init__(self, url: str) -> None:
        super().__init__(name="url", daemon=True)
        self.rate = Fraction(30)
        self.left = threading.Event()
        self.pictures: queue.Queue[Image | DeviceError] = queue.Queue(2)
        self._url = url

    def run(self) -> None:
        try:
            self._read()
            self._put(DeviceError(f"{shown(self._url)} has ended"))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._put(DeviceError(f"cannot read {shown(self._url)}: {_reason(error)}"))

    def _read(self) -> None:
        stored = is_stored(self._url)
        options = OPTIONS if stored else OPTIONS | LIVE_OPTIONS
        timeouts = (OPEN_S, READ_S[stored])
        with av.open(self._url, options=options, timeout=timeouts) as container:
            tracks = [t for t in container.streams.video if not t.disposition & COVER]
            if not tracks or container.format.name == "tty":
                raise ValueError("it has no video track")
            self.rate = tracks[0].average_rate or tracks[0].guessed_rate or self.rate
            ahead: float | None = None
            for frame in _decoded(container, tracks[0]):
                if stored and frame.time is not None:
                    ahead = self._pace(frame.time, ahead)
                if not self._put(upright(frame)):
                    return

    def _pace(self, shown_at: float, ahead: float | None) -> float:
        """Wait until the picture is due; return the stream's time less the clock's."""
        now = time.monotonic()
        early = shown_at - now - ahead if ahead is not None else 0.0
        if ahead is None or not 0 <= early <= READ_S[True]:
            # The first one, a late one, or a jump in the stream's time: it is due now.
            return shown_at - now
        self.left.wait(early)
        return ahead

    def _put(self, what: Image | DeviceError) -> bool:
        """Hand over; return False when nobody wants it any more."""
        while not self.left.is_set():
            try:
                self.pictures.put(what, timeout=LOOK_S)
            except queue.Full:
                continue
            return True
        return False


def _decoded(container: InputContainer, track: VideoStream) -> Iterator[VideoFrame]:
    for packet in container.demux(track):
        # Who joins a stream in the middle, or loses packets, lacks what some pictures refer to.
        with suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.ExitError):
        return "it does not answer"
    if isinstance(error, av.error.ProtocolNotFoundError):
        return "the FFmpeg that PyAV brings does not speak this protocol"
    return getattr(error, "strerror", None) or str(error)


def is_stored(url: str) -> bool:
    """Return whether `url` may lead to a file, which comes faster than it is to be shown."""
    return url.partition(":")[0].lower() in STORED_SCHEMES


def shown(url: str) -> str:
    """Return `url` without the password that it may hold."""
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
