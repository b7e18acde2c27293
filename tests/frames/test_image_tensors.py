"""Images to tensors and back: sizes, aspect ratios, rounding."""

import numpy as np
import pytest
import torch

from streamcam.frames.image_tensors import fitted_lanczos, to_images, to_tensor

CPU = torch.device("cpu")


def quarters() -> np.ndarray:
    """Return a 16:9 image: red left quarter, green middle, blue right quarter."""
    image = np.zeros((90, 160, 3), np.uint8)
    image[:, :40, 0] = image[:, 40:120, 1] = image[:, 120:, 2] = 255
    return image


def test_an_image_of_the_right_size_is_not_copied() -> None:
    image = quarters()
    assert fitted_lanczos(image, 160, 90, "fill") is image


def test_fill_crops_about_the_centre() -> None:
    out = fitted_lanczos(quarters(), 64, 64, "fill")
    assert out.shape == (64, 64, 3)
    assert out[32, 32].tolist() == [0, 255, 0]
    assert out[32, 2, 0] > 200
    assert out[32, -3, 2] > 200


def test_fit_keeps_the_whole_image_between_bars() -> None:
    out = fitted_lanczos(quarters(), 64, 64, "fit")
    assert out[2].max() == out[-2].max() == 0
    assert out[32, 4].tolist() == [255, 0, 0]
    assert out[32, -4].tolist() == [0, 0, 255]


def test_stretch_keeps_the_whole_image_without_bars() -> None:
    out = fitted_lanczos(quarters(), 64, 64, "stretch")
    assert out[2, 4].tolist() == [255, 0, 0]
    assert out[-2, -4].tolist() == [0, 0, 255]


def test_every_grey_level_survives_the_round_trip() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = to_tensor([levels, levels[::-1]], CPU)
    assert tensor.shape == (2, 3, 16, 16)
    assert tensor.min() == -1
    assert tensor.max() == 1
    first, second = to_images(tensor)
    assert (first == levels).all()
    assert (second == levels[::-1]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_outputs_beyond_the_range_are_clipped_not_wrapped(dtype: torch.dtype) -> None:
    outputs = torch.tensor([-3.0, -1.001, 0.0, 1.001, 3.0]).to(dtype).reshape(1, 1, 1, 5)
    (image,) = to_images(outputs.expand(1, 3, 1, 5))
    assert image[0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_levels_are_rounded_and_clipped_in_either_layout(layout: torch.memory_format) -> None:
    outputs = 2 * torch.randn(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    expected = outputs.add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    rounded = to_images(outputs.to(memory_format=layout))
    assert all((image == levels).all() for image, levels in zip(rounded, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_overflow_is_white_or_black_by_its_sign(dtype: torch.dtype) -> None:
    most = torch.finfo(dtype).max
    row = torch.tensor([float("inf"), most, 1.01, -1.01, -most, float("-inf")], dtype=dtype)
    [image] = to_images(row.expand(1, 3, 1, 6))
    assert image[0].tolist() == [[255] * 3] * 3 + [[0] * 3] * 3
