"""LCM schedule: its timesteps are those of diffusers, its coefficients the known ones."""

import pytest
import torch
from diffusers import LCMScheduler

from streamcam.diffusion.schedule import MIN_ALPHA_CUMPROD, lcm_timesteps, steps_at
from streamcam.settings.parameters import indices_of

ALPHAS = LCMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
ALPHAS_CUMPROD = ALPHAS.alphas_cumprod


@pytest.mark.parametrize("steps", range(1, 51))
def test_timesteps_are_those_of_the_lcm_scheduler(steps: int) -> None:
    scheduler = LCMScheduler()
    scheduler.set_timesteps(steps)
    assert lcm_timesteps(steps) == scheduler.timesteps.tolist()


@pytest.mark.parametrize("steps", [51, 60, 75, 100, 333, 600, 999, 1000])
def test_longer_schedules_than_the_original_descend_from_pure_noise(steps: int) -> None:
    timesteps = lcm_timesteps(steps)
    assert len(set(timesteps)) == steps
    assert timesteps == sorted(timesteps, reverse=True)
    assert timesteps[0] == 999
    assert timesteps[-1] >= 0


@pytest.mark.parametrize("train", [999, 1024])
def test_a_schedule_of_another_length_begins_with_pure_noise_too(train: int) -> None:
    assert lcm_timesteps(50, train)[0] == train - 1


def test_coefficients_are_those_of_stable_diffusion() -> None:
    steps = steps_at((0, 32, 45), 50, ALPHAS_CUMPROD)
    assert steps.timesteps.tolist() == [999, 359, 99]
    assert steps.alpha.flatten().tolist() == pytest.approx([0.068, 0.701, 0.946], abs=1e-3)
    assert steps.beta.flatten().tolist() == pytest.approx([0.998, 0.713, 0.323], abs=1e-3)


def test_the_boundary_condition_returns_the_latents_at_timestep_zero() -> None:
    steps = steps_at((999,), 1000, ALPHAS_CUMPROD)
    assert steps.timesteps.tolist() == [0]
    assert steps.c_skip.item() == 1
    assert steps.c_out.item() == 0


def test_zero_terminal_snr_stays_finite() -> None:
    alphas = torch.cat([ALPHAS_CUMPROD[:-1], torch.zeros(1)])
    steps = steps_at((0,), 50, alphas)
    assert steps.alpha.item() == pytest.approx(MIN_ALPHA_CUMPROD**0.5)
    assert torch.isfinite(1 / steps.alpha).all()


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_strength_goes_from_the_last_steps_to_pure_noise(steps: int) -> None:
    assert indices_of(0, steps, 50) == tuple(range(50 - steps, 50))
    assert indices_of(1, steps, 50)[0] == 0
    first = [indices_of(strength / 20, steps, 50)[0] for strength in range(21)]
    assert first == sorted(first, reverse=True)
    for strength in range(21):
        indices = indices_of(strength / 20, steps, 50)
        assert len(set(indices)) == steps
        assert indices == tuple(sorted(indices))
        assert indices[-1] < 50
