"""Pictures to tensors and back: sizes, aspect ratios, rounding."""

import numpy as np
import pytest
import torch

from streamcam.frames.image_tensors import fitted, to_images, to_tensor

CPU = torch.device("cpu")


def quarters() -> np.ndarray:
    """Return a 16:9 picture: red left quarter, green middle, blue right quarter."""
    image = np.zeros((90, 160, 3), np.uint8)
    image[:, :40, 0] = image[:, 40:120, 1] = image[:, 120:, 2] = 255
    return image


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    image = quarters()
    assert fitted(image, 160, 90, "fill") is image


def test_fill_crops_about_the_centre() -> None:
    out = fitted(quarters(), 64, 64, "fill")
    assert out.shape == (64, 64, 3)
    assert out[32, 32].tolist() == [0, 255, 0]
    assert out[32, 2, 0] > 200
    assert out[32, -3, 2] > 200


def test_fit_keeps_all_of_it_between_bars() -> None:
    out = fitted(quarters(), 64, 64, "fit")
    assert out[2].max() == out[-2].max() == 0
    assert out[32, 4].tolist() == [255, 0, 0]
    assert out[32, -4].tolist() == [0, 0, 255]


def test_stretch_uses_all_of_it_without_bars() -> None:
    out = fitted(quarters(), 64, 64, "stretch")
    assert out[2, 4].tolist() == [255, 0, 0]
    assert out[-2, -4].tolist() == [0, 0, 255]


def test_every_grey_level_survives_the_way_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = to_tensor([levels, levels[::-1]], CPU)
    assert tensor.shape == (2, 3, 16, 16)
    assert tensor.min() == -1
    assert tensor.max() == 1
    there, back = to_images(tensor)
    assert (there == levels).all()
    assert (back == levels[::-1]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_pictures_beyond_the_range_are_clipped_not_wrapped(dtype: torch.dtype) -> None:
    pictures = torch.tensor([-3.0, -1.001, 0.0, 1.001, 3.0]).to(dtype).reshape(1, 1, 1, 5)
    (image,) = to_images(pictures.expand(1, 3, 1, 5))
    assert image[0, :, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_levels_are_rounded_and_clipped_in_either_layout(layout: torch.memory_format) -> None:
    pictures = 2 * torch.randn(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    expected = pictures.add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
    ours = to_images(pictures.to(memory_format=layout))
    assert all((image == levels).all() for image, levels in zip(ours, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_what_overflows_is_white_or_black_on_its_own_side(dtype: torch.dtype) -> None:
    most = torch.finfo(dtype).max
    row = torch.tensor([float("inf"), most, 1.01, -1.01, -most, float("-inf")], dtype=dtype)
    [image] = to_images(row.expand(1, 3, 1, 6))
    assert image[0].tolist() == [[255] * 3] * 3 + [[0] * 3] * 3
