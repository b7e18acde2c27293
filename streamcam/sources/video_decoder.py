"""Decoding of the video track of a file or stream, past what is damaged."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any, cast

import av
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame

from streamcam.sources.rgb_converter import RgbConverter
from streamcam.types import Image

COVER = Disposition.attached_pic
MAX_PIXELS = 1 << 26
"""8192x8192: a damaged or hostile header must not ask for all memory."""
CHEAP_PIXELS = 1280 * 720
"""Up to here one thread decodes fast enough. With several, PyAV loses the good frames that follow
a damaged one at the very end of a file."""
MAX_FAILED_READS = 50
"""Reads that may fail in a row until the rest counts as unreadable."""


class VideoDecoder:
    """The frames of the first video track of `container`, as upright RGB images with their times.

    What cannot be decoded is skipped and counted.

    Args:
        container: an open file or stream.
        ahead: decode several frames at a time, which delays them all.
        stopped: asked at every packet whether to end.

    Raises:
        ValueError: there is no video track, or no decoder for it; the message completes "it …".
    """

    def __init__(
        self,
        container: InputContainer,
        *,
        ahead: bool = False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        tracks = [t for t in container.streams.video if not t.disposition & COVER]
        # FFmpeg decodes plain text as the screen of a terminal.
        if not tracks or container.format.name == "tty":
            raise ValueError("has no video track")
        self.track = tracks[0]
        # PyAV's annotation forgets a track of a codec that FFmpeg does not know.
        known: object = self.track.codec_context
        if known is None:
            raise ValueError("has a video track of a codec that FFmpeg does not know")
        context = self.track.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise ValueError(
                f"has frames of {context.width}x{context.height}; 8192x8192 is the largest size"
            )
        context.options = {"max_pixels": str(MAX_PIXELS)}
        if ahead and context.width * context.height > CHEAP_PIXELS:
            context.thread_type = "AUTO"
        self.rate = self.track.average_rate or self.track.guessed_rate or Fraction(30)
        self.last_error: av.error.FFmpegError | None = None
        self._container = container
        self._stopped = stopped
        self.may_jump = has_flag(container, Flags.ts_discont)
        """Whether the format allows times that jump, as a broadcast does."""
        self._refused = 0
        self._corrupt = 0

    @property
    def damaged(self) -> int:
        """Packets so far that were damaged, and skipped where they could not be decoded."""
        # Most packets that are marked as corrupt are also refused, some time later.
        return max(self._refused, self._corrupt)

    def __iter__(self) -> Iterator[tuple[Image, float | None]]:
        """Yield each image ``(H, W, 3)`` with its time of presentation in seconds, if it has one.

        Raises:
            FFmpegError: the rest cannot be read.
        """
        convert = RgbConverter(self.track)
        for decoded in self._decoded():
            yield convert(decoded), decoded.time

    def _decoded(self) -> Iterator[VideoFrame]:
        failed_reads = 0
        while True:
            try:
                # All tracks: without a packet of this one, PyAV would not come back.
                for packet in self._container.demux():
                    failed_reads = 0
                    if self._stopped():
                        return
                    if packet.stream.index == self.track.index:
                        yield from self._frames(packet)
            except av.error.InvalidDataError as error:
                # The next read may find the next part that is whole.
                failed_reads += 1
                if failed_reads > MAX_FAILED_READS:
                    raise
                self.last_error = error
                continue
            return

    def _frames(self, packet: "Packet[Any]") -> Iterable[VideoFrame]:
        # In a broadcast format the mark may only mean that parts were joined.
        self._corrupt += packet.is_corrupt and not self.may_jump
        try:
            return self.track.decode(packet)
        except av.error.FFmpegError as error:
            self._refused += 1
            self.last_error = error
            return ()


def has_flag(container: InputContainer, flag: Flags) -> bool:
    """Return whether the format of `container` has `flag` of FFmpeg."""
    return bool(container.format.flags & int(cast(int, flag.value)))
