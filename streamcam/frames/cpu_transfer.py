"""Transfer for a model on the CPU: frames are resized before they become tensors."""

from collections.abc import Hashable

import torch
from torch import Tensor

from streamcam.frames.image_tensors import fitted_lanczos, to_images, to_tensor
from streamcam.frames.transfer import (
    DownloadedImage,
    OutputBuffer,
    UploadedFrames,
    WaitForDownload,
)
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

    def uploaded(self, count: int) -> UploadedFrames:
        images, self._images = self._images, []
        return _Images(images + images[-1:] * (count - len(images)), self._device)

    def batch(self, count: int) -> Tensor:
        return self.uploaded(count).batch()

    def clear(self) -> None:
        self._images = []

    def copy_to_device(self, target: Tensor, source: Tensor) -> None:
        target.copy_(source)

    def output_buffer(self, count: int) -> OutputBuffer:  # noqa: ARG002
        return _Outputs()

    def download(self, outputs: Tensor) -> tuple[list[DownloadedImage], WaitForDownload]:
        buffer = _Outputs()
        buffer.write(outputs)
        return buffer.download()

    def synchronize(self) -> None:
        return


class _Images:
    """Frames in main memory; see `UploadedFrames`."""

    slot: Hashable = 0
    memory: object = None

    def __init__(self, images: list[Image], device: torch.device) -> None:
        self._images, self._device = images, device

    def batch(self) -> Tensor:
        return to_tensor(self._images, self._device)


class _Outputs:
    """Outputs as they are; see `OutputBuffer`."""

    slot: Hashable = 0

    def write(self, outputs: Tensor) -> None:
        self._outputs = outputs

    def download(self) -> tuple[list[DownloadedImage], WaitForDownload]:
        return [DownloadedImage(image) for image in to_images(self._outputs)], _do_nothing


def _do_nothing() -> None:
    return
