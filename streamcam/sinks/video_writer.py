"""Video files written through PyAV, playable up to the last second even after a crash."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.video.reformatter import Colorspace

from streamcam.errors import MediaError
from streamcam.sinks.atomic_file import AtomicOutput
from streamcam.types import Frame, Image

CLOCK = Fraction(1, 90_000)

# Players can open a file that was cut off anywhere: Matroska in clusters of a second,
# MP4 in fragments of one, from time 0 on however frames are reordered.
# Bit-exact: the same frames make the same bytes.
FRAGMENTS = {"movflags": "frag_keyframe+delay_moov+default_base_moof"}
MP4_SUFFIXES = (".mp4", ".m4v", ".mov")
CONTAINERS = {
    ".mkv": {"cluster_time_limit": "1000"},
    ".webm": {"cluster_time_limit": "1000"},
    **dict.fromkeys(MP4_SUFFIXES, FRAGMENTS),
}
Encoder = tuple[str, dict[str, str]]
"""FFmpeg's name of the encoder, and its options."""

H264 = ("libx264", {"crf": "16", "preset": "fast", "rc-lookahead": "10"})
VP9 = ("libvpx-vp9", {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6"})
FORMATS = {".mkv": "matroska", ".m4v": "mp4"}
DEFAULT_ENCODERS: dict[str, Encoder] = dict.fromkeys(CONTAINERS, H264) | {".webm": VP9}


class VideoWriter(AtomicOutput):
    """H.264 in Matroska, MP4 or MOV; VP9 in WebM. BT.709, 4:2:0."""

    def __init__(
        self,
        path: Path,
        rate: Fraction,
        encoders: Mapping[str, Encoder] = DEFAULT_ENCODERS,
        *,
        overwrite: bool = False,
    ) -> None:
        super().__init__(path, overwrite=overwrite)
        self._rate = rate
        self._suffix = path.suffix.lower()
        self._encoder = encoders[self._suffix]
        self._last_pts = -1
        self._last_duration: float | None = None
        self._first_dts: int | None = None
        self._image: Image | None = None
        self._yuv_frame: av.VideoFrame | None = None

    def create(self) -> None:
        self._file = UnbufferedFile(self.temporary_path, "xb")
        options = {"fflags": "+bitexact", "flush_packets": "1"} | CONTAINERS[self._suffix]
        self._container = av.open(
            self._file, "w", format=FORMATS.get(self._suffix, self._suffix[1:]), options=options
        )
        codec, codec_options = self._encoder
        options = dict(codec_options)
        track: Any = self._container.add_stream(codec, rate=self._rate, options=options)
        self._track = track
        self._track.pix_fmt = "yuv420p"
        self._track.codec_context.gop_size = max(1, round(self._rate))
        self._track.codec_context.flags |= av.codec.context.Flags.bitexact
        self._track.codec_context.time_base = CLOCK
        for name in ("colorspace", "color_primaries", "color_trc"):
            setattr(self._track.codec_context, name, 1)

    def write(self, frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        if height % 2 or width % 2:
            raise MediaError(f"a video needs even sides, got {width}x{height}")
        if self._last_pts < 0:
            self._track.width, self._track.height = width, height
        yuv_frame = self._to_yuv(frame.image)
        self._last_pts = max(round(frame.captured_at / CLOCK), self._last_pts + 1)
        yuv_frame.pts, yuv_frame.time_base = self._last_pts, CLOCK
        self._last_duration = frame.duration
        with self._write_errors():
            self._mux(self._track.encode(yuv_frame))

    def _to_yuv(self, image: Image) -> av.VideoFrame:
        """Return `image` as YUV 4:2:0; the last one again is not converted twice."""
        if self._yuv_frame is None or image is not self._image:
            self._image = image
            self._yuv_frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709
            )
        return self._yuv_frame

    def finish(self) -> None:
        with self._write_errors():
            packets = self._track.encode(None) if self._last_pts >= 0 else []
            if packets:
                self._set_last_duration(packets)
            self._mux(packets)
            self._container.close()
        self._file.close()

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            if self._first_dts is None:
                self._first_dts = packet.dts
            self._container.mux(packet)

    def _set_last_duration(self, packets: list[Any]) -> None:
        """Have the last frame shown for its duration: no frame comes after it whose time tells."""
        if self._last_duration is None:
            return
        duration = round(self._last_duration / CLOCK)
        if self._suffix in MP4_SUFFIXES:
            # MP4 adds up the durations of packets in the order they are stored in.
            first = packets[0].dts if self._first_dts is None else self._first_dts
            packets[-1].duration = max(1, self._last_pts + duration - packets[-1].dts + first)
        else:
            last = max(packets, key=lambda packet: packet.pts)
            last.duration = duration

    def abort(self) -> None:
        # The error to report is the one of the write that failed.
        with suppress(av.error.FFmpegError, OSError, AttributeError):
            self._container.close()
        with suppress(OSError, AttributeError):
            self._file.close()

    @contextmanager
    def _write_errors(self) -> Iterator[None]:
        """Raise the error of the failed write: FFmpeg reports it late, as another one, or never."""
        try:
            yield
        except av.error.FFmpegError as error:
            if not self._file.failed:
                raise MediaError(f"cannot write {self.path}: {error.strerror}") from None
        if self._file.failed:
            raise self._file.failed


class UnbufferedFile(io.FileIO):
    """An unbuffered file that writes all its data, and keeps the error when it could not.

    A crash then loses nothing that the container has written. FFmpeg takes no notice when the
    system writes only a part, as it does just before the disk is full.
    """

    failed: OSError | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failed = self.failed or error
            raise
        return len(data)
