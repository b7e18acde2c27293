"""Pictures to tensors and back."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image as Pillow
from PIL import ImageOps
from torch import Tensor

from streamcam.types import Image

LANCZOS = Pillow.Resampling.LANCZOS
FITS: dict[str, Callable[[Pillow.Image, tuple[int, int], Pillow.Resampling], Pillow.Image]] = {
    "fill": ImageOps.fit,
    "fit": ImageOps.pad,
    "stretch": Pillow.Image.resize,
}


def fitted(image: Image, width: int, height: int, fit: str) -> Image:
    """Return `image` at ``(height, width)``: as it is where it has that size, else by Lanczos.

    `fit` meets another aspect ratio: ``fill`` crops about the centre, ``fit`` adds black bars,
    ``stretch`` distorts.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(FITS[fit](Pillow.fromarray(image), (width, height), LANCZOS))


def to_tensor(images: Sequence[Image], device: torch.device) -> Tensor:
    """Return ``(f, 3, H, W)`` float32 in [-1, 1]; the bytes cross the bus as bytes."""
    batch = torch.from_numpy(np.stack(images)).to(device)
    return batch.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_images(pictures: Tensor) -> list[Image]:
    """Return the pictures ``(f, 3, H, W)``, nominally in [-1, 1], as uint8 RGB in one copy."""
    levels = pictures.float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return list(levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy())
