"""Upload of frames to the model's device and download of its images: the contract."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from streamcam.pixels import Vector
from streamcam.types import Bytes, Image

WaitForDownload = Callable[[], None]


class DownloadedImage(NamedTuple):
    """What comes back from the device."""

    image: Image
    packed: Bytes | None = None
    """The same in the pixel format that goes out."""


class FrameTransfer(Protocol):
    """Takes the f frames of a call to the device, and brings its f pictures back."""

    on_device: bool
    """Whether the device fits and converts: frames then come whole, and copies run beside it."""

    def prepare(self, image: Image) -> Image:
        """Return a frame as it is looked at and put."""

    def similarity_vector(self, image: Image) -> Vector:
        """Return a prepared frame as the similarity filter sees it, without asking the device."""

    def upload(self, image: Image) -> None:
        """Take a prepared frame as the next one of the call being gathered."""

    def batch(self) -> Tensor:
        """Return what was gathered, ``(f, 3, H, W)`` float32 in [-1, 1].

        Where frames are missing the last one stands still. The tensor may be written anew, in the
        device's order of things, once the next frame is put.
        """

    def clear(self) -> None:
        """Forget what was gathered."""

    def send(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the processor's on the device, without waiting for it."""

    def download(self, pictures: Tensor) -> tuple[list[DownloadedImage], WaitForDownload]:
        """Have ``(f, 3, H, W)``, nominally in [-1, 1], brought back.

        Returns:
            The pictures, and what must be called before they are looked at.
        """

    def synchronize(self) -> None:
        """Wait for the device after a call of which nothing is fetched."""
