"""Transfer for a model on the CPU: frames are resized before they become tensors."""

import torch
from torch import Tensor

from streamcam.frames.image_tensors import fitted_lanczos, to_images, to_tensor
from streamcam.frames.transfer import DownloadedImage, WaitForDownload
from streamcam.pixels import Vector, as_vector
from streamcam.settings.config import Config
from streamcam.types import Image


class CpuTransfer:
    """Resizes frames on the CPU, which is the device, or feeds one that gains nothing by it."""

    on_device = False

    def __init__(self, config: Config, device: torch.device) -> None:
        self._config = config
        self._device = device
        self._images: list[Image] = []

    def prepare(self, image: Image) -> Image:
        return fitted_lanczos(image, self._config.width, self._config.height, self._config.fit)

    def similarity_vector(self, image: Image) -> Vector:
        return as_vector(image)

    def upload(self, image: Image) -> None:
        self._images.append(image)

    def batch(self, count: int) -> Tensor:
        images, self._images = self._images, []
        missing = count - len(images)
        return to_tensor(images + images[-1:] * missing, self._device)

    def clear(self) -> None:
        self._images = []

    def to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device)

    def download(self, outputs: Tensor) -> tuple[list[DownloadedImage], WaitForDownload]:
        return [DownloadedImage(image) for image in to_images(outputs)], _do_nothing

    def synchronize(self) -> None:
        return


def _do_nothing() -> None:
    return
