"""The way of a frame to the models' device and of a picture back, chosen by the device."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from streamcam.diffusion.similarity import Vector, vector
from streamcam.frames.image_tensors import fitted, to_images, to_tensor
from streamcam.settings.config import Config
from streamcam.types import Bytes, Image

Wait = Callable[[], None]


class Picture(NamedTuple):
    """What comes back from the device."""

    image: Image
    packed: Bytes | None = None
    """The same in the pixel format that goes out."""


class FrameTransfer(Protocol):
    """Takes the f frames of a call to the device, and brings its f pictures back."""

    on_device: bool
    """Whether the device fits and converts: frames then come whole, and copies run beside it."""

    def prepared(self, image: Image) -> Image:
        """Return a frame as it is looked at and put."""

    def look(self, image: Image) -> Vector:
        """Return a prepared frame as the similarity filter sees it, without asking the device."""

    def put(self, image: Image) -> None:
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

    def fetch(self, pictures: Tensor) -> tuple[list[Picture], Wait]:
        """Have ``(f, 3, H, W)``, nominally in [-1, 1], brought back.

        Returns:
            The pictures, and what must be called before they are looked at.
        """

    def settle(self) -> None:
        """Wait for the device after a call of which nothing is fetched."""


class CpuTransfer:
    """Frames fitted by the processor, which is the device or feeds one that is best asked so."""

    on_device = False

    def __init__(self, config: Config, device: torch.device) -> None:
        self._config = config
        self._device = device
        self._images: list[Image] = []

    def prepared(self, image: Image) -> Image:
        return fitted(image, self._config.width, self._config.height, self._config.fit)

    def look(self, image: Image) -> Vector:
        return vector(image)

    def put(self, image: Image) -> None:
        self._images.append(image)

    def batch(self) -> Tensor:
        images, self._images = self._images, []
        missing = self._config.frame_buffer_size - len(images)
        return to_tensor(images + images[-1:] * missing, self._device)

    def clear(self) -> None:
        self._images = []

    def send(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device)

    def fetch(self, pictures: Tensor) -> tuple[list[Picture], Wait]:
        return [Picture(image) for image in to_images(pictures)], _nothing

    def settle(self) -> None:
        return


def frame_transfer(config: Config, device: torch.device, *, on_air: bool = False) -> FrameTransfer:
    """Return the path for `device`.

    `on_air` a device gives pictures as the broadcast wants them, else at the model's size.
    """
    if device.type != "cuda":
        return CpuTransfer(config, device)
    from streamcam.frames.copy_streams import CudaCopyStreams
    from streamcam.frames.cuda_transfer import CudaTransfer, delivery

    return CudaTransfer(config, device, CudaCopyStreams(device), delivery(config, on_air=on_air))


def _nothing() -> None:
    return
