"""Pixel formats converted on a device, compared with OpenCV's."""

import numpy as np
import pytest
import torch

from streamcam.frames.yuv import LAYOUTS, Packer
from streamcam.pixels import FORMATS, size_in_bytes


@pytest.mark.parametrize("name", sorted(LAYOUTS))
@pytest.mark.parametrize("size", [(2, 2), (6, 10), (64, 36), (320, 180)])
def test_every_format_is_that_of_the_cpu_within_a_level(name: str, size: tuple[int, int]) -> None:
    width, height = size
    images = np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)
    images[0, 0, 0], images[0, -1, -1] = 0, 255
    levels = torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous()
    # After other bytes, as they follow RGB.
    out = torch.zeros(3, 5 + size_in_bytes(name, size), dtype=torch.uint8)
    Packer(name, (3, height, width), torch.device("cpu"))(levels, out[:, 5:])
    expected = np.stack([FORMATS[name](image).reshape(-1) for image in images])
    difference = np.abs(out[:, 5:].numpy().astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
    assert (out[:, :5] == 0).all()
