"""The protocol of frame transfer: upload frames to the model's device, download its outputs."""

from collections.abc import Callable
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

    def batch(self, count: int) -> Tensor:
        """Return the batch of `count` frames, ``(count, 3, H, W)`` float32 in [-1, 1].

        Where fewer were uploaded the last one is repeated. The tensor may be overwritten, in the
        device's order of work, once the next frame is uploaded.
        """

    def clear(self) -> None:
        """Drop the frames of the next batch."""

    def to_device(self, tensor: Tensor) -> Tensor:
        """Copy a CPU tensor to the device without waiting for it."""

    def download(self, outputs: Tensor) -> tuple[list[DownloadedImage], WaitForDownload]:
        """Start to download outputs ``(T, 3, H, W)``, nominally in [-1, 1].

        Returns:
            The images, and a function to call before they are read, which raises an EngineError
            where an output holds NaN.

        Raises:
            EngineError: an output holds NaN, where that is known at once.
        """

    def synchronize(self) -> None:
        """Wait for the device after a call of which nothing is downloaded."""
