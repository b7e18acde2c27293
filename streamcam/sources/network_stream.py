"""Network streams through PyAV, decoded in a thread of their own that can be left at any time."""

import logging
import queue
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Self

import av
from av.container import InputContainer

from streamcam.errors import DeviceError
from streamcam.redaction import redacted, redacted_url
from streamcam.sources.pacing import Pacer
from streamcam.sources.url_schemes import SCHEMES, is_http
from streamcam.sources.video_decoder import VideoDecoder
from streamcam.types import Frame, Image

log = logging.getLogger(__name__)

# Protocols that a playlist may lead on to: never to files of this machine.
WHITELIST = ",".join((*SCHEMES, "tls", "crypto", "httpproxy", "rtmpt", "rtmpe", "dtls", "srtp"))
OPTIONS = {
    "protocol_whitelist": WHITELIST,
    "flags": "low_delay",
    "rtsp_flags": "prefer_tcp",
    # A second is enough to find the tracks; FFmpeg takes five where there is no sound.
    "analyzeduration": "1000000",
}
OPEN_S = 10.0
READ_S = {True: 10.0, False: 5.0}
"""Longest silence over HTTP (True) or else: a playlist's segments lie seconds apart."""
POLL_S = 0.2
SNAPSHOTS_PER_S = 10
"""How often a URL that gives one image is asked for the next one, at most."""
DAMAGE_REPORT_S = 60.0
"""Least time between two reports of damaged frames."""


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
        image: Image | None = None
        while not self._stopped.is_set():
            try:
                received = self._decoder.images.get(timeout=POLL_S)
            except queue.Empty:
                if image is not None and self._decoder.holding:
                    # The file holds this frame for long; a source that gives none counts as lost.
                    received = image
                elif time.monotonic() - last_arrival > limit_s:
                    raise DeviceError(
                        f"{redacted_url(self._url)}: no frame for {limit_s:.0f} s"
                    ) from None
                else:
                    continue
            if isinstance(received, BaseException):
                raise received
            image = received
            last_arrival, limit_s = time.monotonic(), READ_S[is_http(self._url)] + 1
            self.rate = self._decoder.rate
            yield Frame(image, index, last_arrival)
            index += 1


class _DecoderThread(threading.Thread):
    """Decodes until it is cancelled or the stream ends, at most two images ahead."""

    def __init__(self, url: str) -> None:
        super().__init__(name="url", daemon=True)
        self.rate = Fraction(30)
        self.cancelled = threading.Event()
        self.images: queue.Queue[Image | BaseException] = queue.Queue(2)
        self.holding = False
        """Whether the next frame is there and is not due for long."""
        self._url = url
        self._snapshot_rate: Fraction | None = None

    def run(self) -> None:
        url = redacted_url(self._url)
        try:
            if self._decode() == 1 and is_http(self._url):
                self._repeat_snapshots()
            self._put(DeviceError(f"{url} has ended"))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self._put(DeviceError(f"cannot read {url}: {_reason(error)}"))
        except BaseException as error:
            self._put(error)  # The reader would wait for a thread that is gone.

    def _decode(self) -> int:
        """Queue the images until the stream ends; return how many there were.

        Raises:
            ValueError: there was none.
        """
        with self._open() as container:
            decoder = VideoDecoder(container, stopped=self.cancelled.is_set)
            self.rate = self._snapshot_rate or decoder.rate
            pacer = Pacer(self._url, container, float(1 / decoder.rate), self._hold)
            damage = _DamageReport(self._url, decoder)
            count = 0
            for image, presented_at in decoder:
                pacer.wait_until_due(presented_at)
                if not self._put(image):
                    return count
                count += 1
                damage.update()
        if count == 0:
            raise ValueError("holds no video that FFmpeg can decode")
        return count

    def _open(self) -> InputContainer:
        open_url = partial(
            av.open,
            self._url,
            options=OPTIONS,
            timeout=(OPEN_S, READ_S[is_http(self._url)]),
            metadata_errors="replace",
        )
        try:
            return open_url()
        except av.error.InvalidDataError:
            if not is_http(self._url):
                raise
        # Small cameras send JPEG in parts that are not quite MIME: it is found all the same.
        return open_url(format="mjpeg")

    def _hold(self, seconds: float) -> None:
        self.holding = seconds > POLL_S
        self.cancelled.wait(seconds)
        self.holding = False

    def _repeat_snapshots(self) -> None:
        """Ask for the next image until cancelled; raise when none has come for too long."""
        period = 1 / SNAPSHOTS_PER_S
        last = time.monotonic()
        while not self.cancelled.wait(max(0.0, last + period - time.monotonic())):
            asked = time.monotonic()
            # Cameras answer slowly; the rate says when to expect the next image.
            self._snapshot_rate = Fraction(1 / max(asked - last, period)).limit_denominator(1000)
            try:
                self._decode()
                last = asked
            except (av.error.FFmpegError, OSError, ValueError):
                if asked - last > READ_S[True]:
                    raise
                self.cancelled.wait(period)

    def _put(self, item: Image | BaseException) -> bool:
        """Queue `item`; return False once the thread is cancelled."""
        while not self.cancelled.is_set():
            try:
                self.images.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False


class _DamageReport:
    """Logs how many frames were damaged, now and then; those before the first one do not count.

    A stream joined in the middle lacks what its first frames refer to.
    """

    def __init__(self, url: str, decoder: VideoDecoder) -> None:
        self._url = url
        self._decoder = decoder
        self._reported: int | None = None
        self._reported_at = -DAMAGE_REPORT_S

    def update(self) -> None:
        """Log what was damaged since the last report, at most once every `DAMAGE_REPORT_S`."""
        damaged = self._decoder.damaged
        if self._reported is None:
            self._reported = damaged
        now = time.monotonic()
        if damaged > self._reported and now - self._reported_at >= DAMAGE_REPORT_S:
            count = damaged - self._reported
            log.warning("%s: damaged frames: %d", redacted_url(self._url), count)
            self._reported, self._reported_at = damaged, now


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.ExitError):
        return "it does not answer"
    if isinstance(error, av.error.ProtocolNotFoundError):
        return "the FFmpeg that PyAV brings does not support this protocol"
    if type(error) is ValueError:
        return f"it {error}"
    return redacted(getattr(error, "strerror", None) or str(error))
