"""Convert images to tensors and back, and resize them by Lanczos."""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from streamcam.errors import EngineError
from streamcam.geometry import fit_axes
from streamcam.types import Image

HALF_RANGE = 127.5
"""The level of a pixel halfway between black and white."""
NORMALISED = np.arange(256, dtype=np.float32) / np.float32(HALF_RANGE) - 1
"""The value in [-1, 1] of each level."""
NOT_A_NUMBER = (
    "the model's output is not a number (NaN), which would be black: try --dtype float32, the"
    " values before the last change, or another model or LoRA"
)
LANCZOS = Pillow.Resampling.LANCZOS


def fitted_lanczos(image: Image, width: int, height: int, fit: str) -> Image:
    """Return `image` resized to ``(height, width)`` by Lanczos; unchanged if it has that size.

    `fit` handles another aspect ratio: ``fill`` crops about the centre, ``fit`` adds black bars,
    ``stretch`` distorts.
    """
    if image.shape[:2] == (height, width):
        return image
    h, w = image.shape[:2]
    x, y = fit_axes((w, h), (width, height), fit)
    box = (x.begin, y.begin, x.end, y.end)
    resized = np.asarray(Pillow.fromarray(image).resize((x.length, y.length), LANCZOS, box))
    if (x.length, y.length) == (width, height):
        return resized
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[y.covered, x.covered] = resized
    return canvas


def to_tensor(images: Sequence[Image], device: torch.device) -> Tensor:
    """Return ``(f, 3, H, W)`` float32 in [-1, 1]."""
    height, width, channels = images[0].shape
    planes = np.empty((len(images), channels, height, width), np.uint8)
    for image, channels_of_image in zip(images, planes, strict=True):
        cv2.split(image, list(channels_of_image))
    values = cv2.LUT(planes.reshape(-1, width), NORMALISED)
    return torch.from_numpy(values.reshape(planes.shape)).to(device)


def to_images(outputs: Tensor) -> list[Image]:
    """Return outputs ``(f, 3, H, W)``, nominally in [-1, 1], as uint8 RGB images in one copy.

    Raises:
        EngineError: an output holds NaN.
    """
    # Clipped first: values that overflow an integer when converted to levels would come out black.
    values = outputs.clamp(-1, 1).float()
    total, images = values.sum(), values.cpu().numpy()
    if torch.isnan(total):  # NaN stays in a sum.
        raise EngineError(NOT_A_NUMBER)
    return [_interleaved(planes) for planes in images]


def _interleaved(planes: NDArray[np.float32]) -> Image:
    pixels = planes.transpose(1, 2, 0)
    if pixels.flags.c_contiguous:  # The result of convolutions in channels-last.
        return _levels(pixels)
    return cast(Image, cv2.merge([_levels(plane) for plane in planes]))


def _levels(values: NDArray[np.float32]) -> Image:
    """Return values in [-1, 1] as levels: scaled, shifted and rounded in one pass."""
    # No result is below zero, so taking the absolute value changes nothing.
    return cast(Image, cv2.convertScaleAbs(values, alpha=HALF_RANGE, beta=HALF_RANGE))
