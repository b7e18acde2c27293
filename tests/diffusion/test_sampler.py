"""Sampler: its noise, its first outputs, and changes while latents are in flight."""

from typing import Any

import pytest
import torch

from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.sampler import Sampler
from streamcam.settings.config_layers import build_config
from tests.support.streams import TINY, RecordingStream


@pytest.fixture(scope="module")
def models() -> ImageModel:
    return RecordingStream().models


def sampler_of(models: ImageModel, **settings: Any) -> Sampler:
    base = {"cfg_type": "self", "guidance_scale": 1.4, "delta": 0.8}
    return Sampler(models, build_config([TINY, base | settings]), copy=torch.Tensor.copy_)


def latents_of(models: ImageModel, *, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((1, *models.latent_shape), generator=generator)


def call(sampler: Sampler, latents: torch.Tensor) -> torch.Tensor | None:
    """Make a call; return its x_0, None while the first frames are in flight."""
    x_0_is_due = sampler.begin(new_frames=True)
    x_0 = sampler.step(latents)
    return x_0 if x_0_is_due else None


def test_the_first_noise_is_the_published_draw_for_the_seed(models: ImageModel) -> None:
    sampler = sampler_of(models, t_index_list="0,16,32,45", seed=7)
    generator = torch.Generator("cpu").manual_seed(7)
    published = torch.randn((4, *models.latent_shape), generator=generator)
    assert torch.equal(sampler.noise.stock[:, 0], published)


def test_without_added_noise_the_later_steps_get_none(models: ImageModel) -> None:
    noise = sampler_of(models, t_index_list="10,25,40", do_add_noise=False).noise
    assert noise.added[0].abs().sum() > 0
    assert noise.added[1:].abs().sum() == 0
    assert noise.stock[1:].abs().sum() > 0


@torch.inference_mode()
def test_nothing_comes_out_until_the_first_frame_has_run_all_steps(models: ImageModel) -> None:
    sampler = sampler_of(models, t_index_list="10,25,40")
    outputs = [call(sampler, latents_of(models, seed=i)) for i in range(4)]
    assert [x_0 is None for x_0 in outputs] == [True, True, False, False]


@torch.inference_mode()
def test_a_reset_gives_the_first_outputs_again(models: ImageModel) -> None:
    sampler = sampler_of(models, t_index_list="20,40")
    live = build_config([TINY]).live

    def run() -> torch.Tensor:
        sampler.reset(live)
        outputs = [call(sampler, latents_of(models, seed=i)) for i in range(4)]
        return torch.stack([x_0 for x_0 in outputs if x_0 is not None])

    assert torch.equal(run(), run())


@torch.inference_mode()
def test_a_prompt_change_reaches_the_latents_in_flight_and_keeps_the_noise(
    models: ImageModel,
) -> None:
    sampler = sampler_of(models, t_index_list="10,25,40")
    for seed in range(3):
        call(sampler, latents_of(models, seed=seed))
    noise, in_flight = sampler.noise, sampler.in_flight
    assert in_flight is not None
    x_0 = in_flight.x_0.clone()
    sampler.update(sampler.parameters.changed({"prompt": "a red dog"}))
    assert sampler.noise is noise
    assert sampler.in_flight is not None
    assert torch.equal(sampler.in_flight.x_0, x_0)


@torch.inference_mode()
def test_self_guidance_with_one_step_moves_away_from_the_first_noise(models: ImageModel) -> None:
    sampler = sampler_of(models, t_index_list="20", guidance_scale=1.7, delta=0.6)
    noise, steps, latents = sampler.noise.stock, sampler.steps, latents_of(models, seed=0)
    x_0 = call(sampler, latents)
    x_t = steps.alpha * latents + steps.beta * noise
    condition = Conditioner(models)(sampler.parameters, negative=0, positive=1)
    eps = models.denoise(x_t[0], steps.timesteps, condition)
    guided = 0.6 * noise + 1.7 * (eps - 0.6 * noise)
    expected = steps.c_out * (x_t - steps.beta * guided) / steps.alpha + steps.c_skip * x_t
    assert x_0 is not None
    torch.testing.assert_close(x_0, expected[0], atol=1e-5, rtol=1e-5)
