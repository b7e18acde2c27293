"""Measures of steadiness, on outputs whose flicker is known."""

import numpy as np
import pytest

from streamcam.bench.steadiness_scene import handheld_scene, sharpness, warp_error
from streamcam.types import Image


@pytest.fixture(scope="module")
def scene() -> list[Image]:
    return handheld_scene(128, 96, 4)


def test_what_moves_with_the_scene_does_not_flicker_and_what_stands_still_does(
    scene: list[Image],
) -> None:
    still = [scene[0]] * len(scene)
    assert warp_error(still, still) == 0
    brighter = [np.clip(image.astype(int) + 8 * (i % 2), 0, 255) for i, image in enumerate(still)]
    assert warp_error(still, [b.astype(np.uint8) for b in brighter]) == pytest.approx(8, abs=0.5)
    frozen = [scene[0]] * len(scene)
    assert warp_error(scene, frozen) > 0.1


def test_noise_adds_to_the_gradient_energy_and_blur_takes_from_it(scene: list[Image]) -> None:
    flat = [np.full_like(image, 128) for image in scene]
    assert sharpness(flat) == 0 < sharpness(scene)


def test_a_camera_that_stands_still_films_the_same_room_with_other_noise() -> None:
    first, second = handheld_scene(128, 96, 2, pans=False)
    corner = (slice(0, 16), slice(0, 16))
    difference = first[corner].astype(int) - second[corner]
    assert 4 < difference.std() < 10
    assert abs(difference.mean()) < 1
