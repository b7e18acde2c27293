"""Noise controller, against the published trajectories."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from streamcam.video.flow_matching import FlowSchedule, Steps
from streamcam.video.noise_control import (
    LATENT,
    PIXEL,
    NoiseLevel,
    initial_level,
    next_level,
    pixel_differences,
    rms_differences,
    scheduled_level,
)
from tests.video.video_goldens import golden, needs_goldens

CASES = ["static_0.8", "slow_0.8", "fast_0.8", "mixed_0.6", "mixed_0.8"]


@needs_goldens
@pytest.mark.parametrize("case", CASES)
def test_noise_follows_the_published_trajectory(case: str) -> None:
    tensors, about = golden("extras")
    expected = about[f"noise.{case}"]
    video = tensors[f"noise.{case}.video"][0].transpose(0, 1)
    control = replace(PIXEL, noise_scale=expected["init_noise_scale"])
    level = initial_level(control, 700)
    for end, noise_scale, step in expected["trajectory_end_idx__noise_scale__step"]:
        chunk = video[end - expected["chunk_size"] - 1 : end]
        level = next_level(control, level, rms_differences(chunk).tolist())
        assert level.noise_scale == pytest.approx(noise_scale, abs=1e-6)
        assert level.timestep == step


def test_pixel_differences_are_those_of_frames_scaled_to_minus_one_to_one() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 24, 32, 3), dtype=np.uint8)
    scaled = torch.from_numpy(frames / 127.5 - 1)
    assert pixel_differences(list(frames)) == pytest.approx(rms_differences(scaled).tolist())
    black, white = np.zeros_like(frames[0]), np.full_like(frames[0], 255)
    assert pixel_differences([black, white, white]) == [2, 0]


def test_a_still_image_keeps_its_noise_exactly() -> None:
    level = initial_level(PIXEL, 700)
    for _ in range(10_000):
        level = next_level(PIXEL, level, [0.0] * 4)
    assert level == NoiseLevel(0.8, 700)


def test_the_first_timestep_stays_above_the_second_however_fast_things_move() -> None:
    control = replace(PIXEL, noise_scale=0.5)
    level = initial_level(control, 700)
    for _ in range(20):
        level = next_level(control, level, [2.0], second_step=500)
        assert level.timestep == 501
    assert level.noise_scale == pytest.approx(0.4)


def test_noise_never_turns_negative() -> None:
    level = initial_level(replace(PIXEL, noise_scale=0.05, smoothing=0.0), 700)
    level = next_level(replace(PIXEL, noise_scale=0.05, smoothing=0.0), level, [2.0])
    assert level == NoiseLevel(0.0, 1)


def test_the_timestep_can_equal_the_noise_that_was_added() -> None:
    level = next_level(replace(PIXEL, timestep_lag=0), initial_level(PIXEL, 700), [0.0])
    assert (level.noise_scale, level.timestep) == (0.8, 800)


def test_latent_motion_counts_for_the_length_of_the_window() -> None:
    control = replace(LATENT, window=3, smoothing=0.0)
    level = next_level(control, initial_level(control, 700), [5.0])
    scales = []
    for _ in range(4):
        scales.append(level.noise_scale)
        level = next_level(control, level, [0.0])
    assert scales == pytest.approx([0.7, 0.7, 0.7, 0.8])


def test_a_chunk_longer_than_the_window_counts_whole() -> None:
    control = replace(LATENT, window=2, smoothing=0.0)
    level = next_level(control, initial_level(control, 700), [5.0, 0.0, 0.0])
    assert level.noise_scale == pytest.approx(0.7)
    assert next_level(control, level, [0.0]).noise_scale == pytest.approx(0.8)


FLOW = FlowSchedule.shifted(5)
STEPS = Steps(tuple(FLOW.warp_timesteps([1000, 750, 500, 250])), FLOW)


@pytest.mark.parametrize(
    ("strength", "timestep"),
    [(None, 1000), (1.0, 1000), (0.83, 2500 / 3), (0.9, 900), (0.3, 300), (0.0, 1)],
)
def test_a_strength_enters_the_schedule_with_as_much_noise_as_its_timestep_says(
    strength: float | None, timestep: float
) -> None:
    level = scheduled_level(STEPS, strength)
    assert level.timestep == pytest.approx(timestep)
    assert level.noise_scale == pytest.approx(timestep / 1000, abs=5e-3)


def test_a_chunk_of_a_batch_does_not_enter_below_the_second_step() -> None:
    assert scheduled_level(STEPS, 0.3, lowest=937.5) == NoiseLevel(0.9375, 937.5)
