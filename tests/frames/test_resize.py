"""Resizing by matrices, compared with Pillow's Lanczos and with OpenCV's placement."""

import numpy as np
import pytest
import torch

from streamcam import pixels
from streamcam.frames.image_tensors import fitted_lanczos
from streamcam.frames.resize import Resampler
from streamcam.types import Image

CPU = torch.device("cpu")
FITS = ["fill", "fit", "stretch"]


def resampled(
    image: Image, width: int, height: int, fit: str, dtype: torch.dtype = torch.float32
) -> Image:
    h, w = image.shape[:2]
    resampler = Resampler((w, h), (width, height), fit, planes=3, device=CPU, dtype=dtype)
    planes = torch.from_numpy(image).permute(2, 0, 1).to(dtype).contiguous()
    out = resampler(planes, torch.empty(3, height, width, dtype=dtype))
    return out.float().round().permute(1, 2, 0).to(torch.uint8).numpy()


def furthest(a: Image, b: Image) -> int:
    return int(np.abs(a.astype(int) - b).max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    "size", [(160, 90), (96, 192), (80, 40), (64, 128), (40, 40), (64, 62), (30, 20)]
)
def test_even_noise_is_resized_within_a_level_of_pillow(
    size: tuple[int, int], fit: str, dtype: torch.dtype
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    assert furthest(resampled(noise, 64, 64, fit, dtype), fitted_lanczos(noise, 64, 64, fit)) <= 1


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("target", [(64, 64), (160, 90), (320, 240)])
def test_images_are_placed_as_on_the_cpu(target: tuple[int, int], fit: str) -> None:
    """OpenCV has other filters: the images are placed alike, but levels differ."""
    image = smooth(120, 90)
    by_matrices, by_opencv = resampled(image, *target, fit), pixels.fitted(image, *target, fit)
    assert np.abs(by_matrices.astype(int) - by_opencv).mean() < 1.5
    bars = (by_opencv.max((0, 2)) == 0).sum(), (by_opencv.max((1, 2)) == 0).sum()
    assert ((by_matrices.max((0, 2)) == 0).sum(), (by_matrices.max((1, 2)) == 0).sum()) == bars


def smooth(width: int, height: int) -> Image:
    """Return an image of gentle slopes, nowhere black."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    waves = [np.sin(5 * x + 2), np.cos(4 * y), np.sin(3 * x + 4 * y)]
    return np.stack([140 + 90 * wave for wave in waves], -1).astype(np.uint8)


def test_one_pixel_can_be_resized() -> None:
    for fit in FITS:
        assert (resampled(np.full((1, 1, 3), 9, np.uint8), 16, 16, fit) == 9).all()


def test_a_crop_that_rounding_puts_beyond_the_frame_is_resized_too() -> None:
    """512 / (512 / 107) is more than 107 by the last bit."""
    frame = smooth(107, 480)
    assert (
        furthest(resampled(frame, 512, 512, "fill"), fitted_lanczos(frame, 512, 512, "fill")) <= 1
    )
