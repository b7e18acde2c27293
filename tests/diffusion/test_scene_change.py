"""Cuts and motion of the scene, from small frames."""

import cv2
import numpy as np
import pytest

from streamcam.bench.steadiness_scene import handheld_scene
from streamcam.diffusion.scene_change import SceneWatch
from streamcam.types import Image


@pytest.fixture(scope="module")
def panned() -> list[Image]:
    return handheld_scene(160, 128, 4)


def test_a_moving_noisy_camera_makes_no_cut(panned: list[Image]) -> None:
    watch = SceneWatch(160, 128, "fill")
    assert not any(watch(image, moves=False).is_cut for image in panned)


@pytest.mark.parametrize("gain", [0.6, 1.5])
def test_light_that_changes_makes_no_cut(panned: list[Image], gain: float) -> None:
    watch = SceneWatch(160, 128, "fill")
    watch(panned[0], moves=True)
    assert not watch((panned[1] * gain).clip(0, 255).astype(np.uint8), moves=True).is_cut


def test_another_scene_is_a_cut_once(panned: list[Image]) -> None:
    watch = SceneWatch(160, 128, "fill")
    other = panned[0][::-1, ::-1].copy()
    assert [watch(image, moves=False).is_cut for image in (panned[0], other, other)] == [
        False,
        True,
        False,
    ]


def test_frames_of_any_size_are_compared_as_the_model_sees_them(panned: list[Image]) -> None:
    watch = SceneWatch(128, 128, "fill")
    watch(panned[0], moves=True)
    large = cv2.resize(panned[0], None, fx=3, fy=3)
    change = watch(large, moves=True)
    assert not change.is_cut
    assert change.shift == pytest.approx((0, 0), abs=1e-3)


def test_the_motion_of_the_scene_is_found_in_noise(panned: list[Image]) -> None:
    draws = np.random.default_rng(0)
    watch = SceneWatch(160, 128, "fill")
    watch(panned[0], moves=True)
    moved = np.roll(panned[0], (2, -3), (0, 1)) + draws.normal(0, 5, panned[0].shape)
    right, down = watch(moved.clip(0, 255).astype(np.uint8), moves=True).shift
    assert right * 160 == pytest.approx(-3, abs=0.5)
    assert down * 128 == pytest.approx(2, abs=0.5)


def test_a_still_scene_stands_still(panned: list[Image]) -> None:
    watch = SceneWatch(160, 128, "fill")
    watch(panned[0], moves=True)
    assert watch(panned[0], moves=True).shift == (0, 0)
