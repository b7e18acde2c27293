"""The protocol of frame transfer: upload frames to the model's device, download its outputs."""

from collections.abc import Callable, Hashable
from typing import NamedTuple, Protocol

from torch import Tensor

from streamcam.pixels import Vector
from streamcam.types import Bytes, Image

WaitForDownload = Callable[[], None]
"""Blocks until the downloaded images are complete; raises EngineError if one holds NaN."""


class DownloadedImage(NamedTuple):
    """An output of the model in CPU memory."""

    image: Image
    packed: Bytes | None = None
    """The same image in the pixel format of the broadcast, where the device converts."""


class UploadedFrames(Protocol):
    """The uploaded frames of one call."""

    slot: Hashable
    """Frames of one slot lie in the same memory; it may be used again two calls later."""
    memory: object
    """What holds all slots; None where `batch` cannot be repeated on other frames in its place."""

    def batch(self) -> Tensor:
        """Return the batch, ``(count, 3, H, W)`` float32 in [-1, 1]: work of the device alone.

        Where fewer frames were uploaded the last one is repeated. The tensor may be overwritten, in
        the device's order of work, once the next frame is uploaded.
        """


class OutputBuffer(Protocol):
    """Memory on the device that the outputs of one call are converted into."""

    slot: Hashable
    """Buffers of one slot are the same memory; it may be used again two calls later."""

    def write(self, outputs: Tensor) -> None:
        """Convert outputs ``(T, 3, H, W)``, nominally in [-1, 1]: work of the device alone."""

    def download(self) -> tuple[list[DownloadedImage], WaitForDownload]:
        """Start to download what was written.

        Returns:
            The images, and a function to call before they are read, which raises an EngineError
            where an output holds NaN.

        Raises:
            EngineError: an output holds NaN, where that is known at once.
        """


class FrameTransfer(Protocol):
    """Uploads the frames of a call to the device, and downloads its outputs."""

    on_device: bool
    """Whether the device resizes and converts: frames are then uploaded at full size."""

    def prepare(self, image: Image) -> Image:
        """Return a frame as `similarity_vector` and `upload` take it."""

    def similarity_vector(self, image: Image) -> Vector:
        """Return a prepared frame as the similarity filter compares it; it never leaves the CPU."""

    def upload(self, image: Image) -> None:
        """Add a prepared frame to the batch of the next call."""

    def uploaded(self, count: int) -> UploadedFrames:
        """End the batch of the next call, of `count` frames."""

    def batch(self, count: int) -> Tensor:
        """Return the batch of the next call at once, see `UploadedFrames.batch`."""

    def clear(self) -> None:
        """Drop the frames of the next batch, once all calls before have been waited for.

        The slots of the calls that follow are those of the first calls.
        """

    def copy_to_device(self, target: Tensor, source: Tensor) -> None:
        """Copy a CPU tensor into one on the device without waiting for it."""

    def output_buffer(self, count: int) -> OutputBuffer:
        """Return the memory for the `count` outputs of a call."""

    def download(self, outputs: Tensor) -> tuple[list[DownloadedImage], WaitForDownload]:
        """Write outputs to a buffer and start to download them, see `OutputBuffer.download`."""

    def synchronize(self) -> None:
        """Wait for the device after a call of which nothing is downloaded."""
