"""Pictures to tensors and back."""

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from streamcam.geometry import fit_axes
from streamcam.types import Image

MIDDLE = 127.5
"""The level of a pixel halfway between black and white."""
VALUES = np.arange(256, dtype=np.float32) / np.float32(MIDDLE) - 1
"""In [-1, 1], of all levels."""
LANCZOS = Pillow.Resampling.LANCZOS


def fitted(image: Image, width: int, height: int, fit: str) -> Image:
    """Return `image` at ``(height, width)``: as it is where it has that size, else by Lanczos.

    `fit` meets another aspect ratio: ``fill`` crops about the centre, ``fit`` adds black bars,
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
    for image, own in zip(images, planes, strict=True):
        cv2.split(image, list(own))
    values = cv2.LUT(planes.reshape(-1, width), VALUES)
    return torch.from_numpy(values.reshape(planes.shape)).to(device)


def to_images(pictures: Tensor) -> list[Image]:
    """Return the pictures ``(f, 3, H, W)``, nominally in [-1, 1], as uint8 RGB in one copy."""
    # First of all clipped: what overflows an integer on its way to a level would come out black.
    return [_interleaved(planes) for planes in pictures.clamp(-1, 1).float().cpu().numpy()]


def _interleaved(planes: NDArray[np.float32]) -> Image:
    pixels = planes.transpose(1, 2, 0)
    if pixels.flags.c_contiguous:  # As convolutions in channels-last leave them.
        return _levels(pixels)
    return cast(Image, cv2.merge([_levels(plane) for plane in planes]))


def _levels(values: NDArray[np.float32]) -> Image:
    """Return values in [-1, 1] as levels: scaled, moved and rounded in one pass."""
    # None is below zero, so that there is no sign to lose.
    return cast(Image, cv2.convertScaleAbs(values, alpha=MIDDLE, beta=MIDDLE))
