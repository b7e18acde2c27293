"""The segmentation of people finds the person in a photograph, whatever its shape."""

import cv2
import numpy as np
import pytest
import torch
from skimage.data import astronaut

from streamcam.models.person_mask import MULTIPLE, PersonMask, input_size, load_person_mask
from streamcam.types import Image

FACE, WALL, SUIT = (110, 210), (60, 350), (330, 150)
"""(y, x) in the photograph, whose sides are 512."""


@pytest.fixture(scope="module")
def network() -> PersonMask:
    return load_person_mask()


@torch.inference_mode()
def mask_of(network: PersonMask, image: Image) -> np.ndarray:
    size = input_size(image.shape[1], image.shape[0])
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    pixels = torch.from_numpy(resized).permute(2, 0, 1)[None].float() / 255
    return cv2.resize(network(pixels)[0, 0].numpy(), image.shape[1::-1])


def test_the_person_is_found_and_the_wall_is_not(network: PersonMask) -> None:
    mask = mask_of(network, astronaut())
    assert mask[FACE] > 0.95
    assert mask[SUIT] > 0.9
    assert mask[WALL] < 0.05


def test_a_wide_image_is_not_distorted(network: PersonMask) -> None:
    wide = np.full((512, 910, 3), 110, np.uint8)
    wide[:, 199:711] = astronaut()
    mask = mask_of(network, wide)
    assert mask[FACE[0], FACE[1] + 199] > 0.95
    assert mask[WALL[0], WALL[1] + 199] < 0.05
    assert mask[:, 800:].max() < 0.1


def test_an_empty_room_has_no_person(network: PersonMask) -> None:
    room = np.linspace(40, 200, 512 * 512 * 3).reshape(512, 512, 3).astype(np.uint8)
    assert mask_of(network, room).mean() < 0.05


@pytest.mark.parametrize("size", [(512, 512), (256, 256), (910, 512), (64, 1024), (8, 8)])
def test_the_size_of_the_input_suits_the_network(size: tuple[int, int]) -> None:
    width, height = input_size(*size)
    assert width % MULTIPLE == height % MULTIPLE == 0
    assert 0.5 < width * height / (256 * 192) < 2
