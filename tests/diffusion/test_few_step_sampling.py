"""Few-step models as their authors run them: equal to diffusers' pipelines and schedulers."""

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any, NamedTuple

import diffusers
import pytest
import torch
from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion_img2img as img2img
from diffusers.schedulers import (
    scheduling_euler_ancestral_discrete,
    scheduling_lcm,
    scheduling_tcd,
)
from torch import Tensor

from streamcam.diffusion.image_model import from_pipeline
from streamcam.diffusion.schedule import trailing_timesteps
from streamcam.frames.image_tensors import to_tensor
from streamcam.models.random_models import random_pipeline, random_tiny_vae
from streamcam.models.scheduler_config import predicting
from streamcam.settings.config_layers import build_config
from tests.support.streams import TINY, RecordingStream, moving

PROMPT = "a cat"
DRAWS = (
    img2img,
    scheduling_euler_ancestral_discrete,
    scheduling_lcm,
    scheduling_tcd,
)
"""Modules of diffusers that draw noise."""


class Case(NamedTuple):
    """A scheduler of diffusers, and the settings that are to give the same."""

    scheduler: str
    settings: dict[str, Any]
    options: dict[str, Any] = {}  # noqa: RUF012
    """Of the scheduler, for streamcam a part of the model's own config."""
    prediction: str = "epsilon"


TRAILING = {"timestep_spacing": "trailing"}
ZERO_SNR = {"rescale_betas_zero_snr": True}
DDIM = {"sampler": "ddim", "timestep_spacing": "trailing"}
CASES = {
    "SDXL-Lightning": Case(
        "EulerDiscreteScheduler", {"sampler": "euler", "timesteps": [999, 749, 499, 249]}, TRAILING
    ),
    "SDXL-Lightning, 3 steps": Case(
        "EulerDiscreteScheduler",
        {"sampler": "euler", "timestep_spacing": "trailing", "num_inference_steps": 3},
        TRAILING,
    ),
    "Hyper-SD": Case(
        "DDIMScheduler",
        DDIM | {"num_inference_steps": 4},
        TRAILING | {"clip_sample": False},
    ),
    "SDXL-Turbo": Case(
        "EulerAncestralDiscreteScheduler",
        {"sampler": "euler_a", "timestep_spacing": "trailing", "num_inference_steps": 4},
        TRAILING,
    ),
    "LCM": Case("LCMScheduler", {"num_inference_steps": 4}),
    "TCD": Case("TCDScheduler", {"sampler": "tcd", "num_inference_steps": 4, "eta": 0.3}),
    "TCD, all fresh noise": Case(
        "TCDScheduler", {"sampler": "tcd", "num_inference_steps": 4, "eta": 1.0}
    ),
    "TCD, deterministic": Case(
        "TCDScheduler", {"sampler": "tcd", "num_inference_steps": 4, "eta": 0.0}
    ),
    "v with zero terminal SNR": Case(
        "DDIMScheduler",
        DDIM | {"num_inference_steps": 4},
        TRAILING | ZERO_SNR | {"clip_sample": False},
        "v_prediction",
    ),
    "v with zero terminal SNR, TCD": Case(
        "TCDScheduler",
        {"sampler": "tcd", "num_inference_steps": 4, "eta": 0.3},
        ZERO_SNR,
        "v_prediction",
    ),
    "sample": Case(
        "DDIMScheduler",
        DDIM | {"num_inference_steps": 4},
        TRAILING | {"clip_sample": False},
        "sample",
    ),
}


class Inputs:
    """The latents that a U-Net is called with."""

    def __init__(self, unet: torch.nn.Module) -> None:
        self.x_t: list[Tensor] = []
        self.timesteps: list[int] = []
        self._hook = unet.register_forward_pre_hook(self._record, with_kwargs=True)

    def _record(self, _unet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.x_t.append(args[0].clone())
        timestep = args[1] if len(args) > 1 else kwargs["timestep"]
        self.timesteps.append(int(timestep.reshape(-1)[0]))

    def remove(self) -> None:
        self._hook.remove()


@pytest.fixture(scope="module")
def pipes() -> tuple[Any, Any]:
    """Return two pipelines of the same weights: streamcam changes how its own is run."""
    ours, theirs = random_pipeline("tiny-sd-1.5"), random_pipeline("tiny-sd-1.5")
    ours.vae = random_tiny_vae(width=8)
    return ours, theirs


def scheduler_of(case: Case, pipe: Any) -> Any:
    options = case.options | {"prediction_type": case.prediction}
    if case.scheduler == "DDIMScheduler":
        options["set_alpha_to_one"] = True
    return getattr(diffusers, case.scheduler).from_config(pipe.scheduler.config, **options)


def stream_of(pipe: Any, case: Case, **settings: Any) -> RecordingStream:
    """Return a stream on the model of `pipe`, whose config says what `case` does."""
    wanted = TINY | {"cfg_type": "none", "cache_prompt_kv": False, "prompt": PROMPT}
    wanted |= case.settings | settings
    own = pipe.scheduler
    kind = None if case.prediction == "epsilon" else case.prediction
    pipe.scheduler = predicting(own, kind, zero_snr=case.options.get("rescale_betas_zero_snr"))
    models = from_pipeline(pipe, build_config([wanted]), torch.device("cpu"), lambda _: None)
    pipe.scheduler = own
    return RecordingStream(models, **wanted)


def given_noise(monkeypatch: pytest.MonkeyPatch, noise: Tensor) -> None:
    """Let diffusers draw these rows one after another, each ``(1, C, h, w)``."""
    rows: Iterator[Tensor] = chain(noise, repeat(torch.zeros_like(noise[0])))
    for module in DRAWS:
        monkeypatch.setattr(module, "randn_tensor", lambda *_args, **_kwargs: next(rows))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("strength", [1.0, 0.75])
def test_image_to_image_is_that_of_diffusers(
    pipes: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, case: Case, strength: float
) -> None:
    ours, theirs = pipes
    count = case.settings.get("num_inference_steps", 4)
    indices = list(range(count - int(strength * count), count))
    stream = stream_of(ours, case, t_index_list=indices, use_denoising_batch=False)
    frame = moving(1)[0]
    given = Inputs(ours.unet)
    stream([frame])
    given.remove()

    sampler = stream.stream.sampler
    given_noise(monkeypatch, sampler.noise.stock)
    reference = diffusers.StableDiffusionImg2ImgPipeline(
        **theirs.components | {"scheduler": scheduler_of(case, theirs)},
        requires_safety_checker=False,
    )
    reference.set_progress_bar_config(disable=True)
    expected = Inputs(theirs.unet)
    x_0 = reference(
        PROMPT,
        image=stream.models.encode(to_tensor([frame.image], torch.device("cpu")), None),
        strength=strength,
        num_inference_steps=count,
        guidance_scale=0,
        eta=case.settings.get("eta", 0.0),
        output_type="latent",
    ).images
    expected.remove()

    assert given.timesteps == expected.timesteps
    assert len(given.x_t) == len(indices)
    torch.testing.assert_close(given.x_t, expected.x_t, atol=1e-4, rtol=1e-4)
    if case.scheduler != "TCDScheduler":  # It ends on timestep 0, which is not quite clean.
        torch.testing.assert_close(stream.latents[0], x_0[0], atol=1e-4, rtol=1e-4)


def test_one_step_from_noise_alone_is_that_of_diffusers(pipes: tuple[Any, Any]) -> None:
    ours, theirs = pipes
    case = Case(
        "EulerDiscreteScheduler", {"sampler": "euler", "timesteps": [999]}, TRAILING, "sample"
    )
    stream = stream_of(ours, case, mode="txt2img", t_index_list=[0])
    drawn: list[Tensor] = []
    draw = stream.stream.sampler.draw_noise
    stream.stream.sampler.draw_noise = lambda: drawn.append(draw().clone()) or drawn[-1]  # type: ignore[method-assign]
    stream(moving(1))
    reference = diffusers.StableDiffusionPipeline(
        **theirs.components | {"scheduler": scheduler_of(case, theirs)},
        requires_safety_checker=False,
    )
    reference.set_progress_bar_config(disable=True)
    x_0 = reference(
        PROMPT,
        latents=drawn[0],
        num_inference_steps=1,
        guidance_scale=0,
        output_type="latent",
    ).images
    torch.testing.assert_close(stream.latents[0], x_0[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("case", "cfg_type"),
    [
        ("SDXL-Lightning", "none"),
        ("SDXL-Lightning", "self"),
        ("TCD", "full"),
        ("TCD", "initialize"),
        ("v with zero terminal SNR", "none"),
        ("v with zero terminal SNR", "self"),
    ],
)
def test_a_stream_batch_gives_what_one_step_after_another_does(
    pipes: tuple[Any, Any], case: str, cfg_type: str
) -> None:
    count = CASES[case].settings.get("num_inference_steps", 4)
    settings = {"t_index_list": list(range(count)), "cfg_type": cfg_type}
    if cfg_type == "self" and "zero" in case:
        settings["t_index_list"] = [1, 2, 3]  # Residual guidance starts from a visible source.
    frames = moving(5)
    batched = stream_of(pipes[0], CASES[case], **settings)
    batched(frames)
    one_by_one = stream_of(pipes[0], CASES[case], **settings, use_denoising_batch=False)
    one_by_one(frames)
    assert len(batched.latents) == len(one_by_one.latents) == len(frames)
    torch.testing.assert_close(batched.latents, one_by_one.latents, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("cfg_type", ["none", "full", "self", "initialize"])
def test_a_zero_terminal_snr_gives_finite_images_in_every_mode(
    pipes: tuple[Any, Any], cfg_type: str
) -> None:
    case = CASES["v with zero terminal SNR"]
    stream = stream_of(pipes[0], case, t_index_list=[0, 2], cfg_type=cfg_type)
    stream(moving(6))
    assert torch.stack(stream.latents).isfinite().all()
    assert torch.stack(stream.latents).abs().max() < 50


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7, 8, 12, 30, 999])
def test_trailing_timesteps_are_those_of_diffusers_and_begin_with_noise_alone(count: int) -> None:
    scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(count)
    assert trailing_timesteps(count) == scheduler.timesteps.tolist()[:count]
    assert trailing_timesteps(count)[0] == 999


def test_eta_changes_on_air(pipes: tuple[Any, Any]) -> None:
    case = CASES["TCD"]
    settings = {"t_index_list": [0, 1, 2]}
    changed = stream_of(pipes[0], case, **settings)
    changed(moving(8), {2: {"eta": 0.9}})
    after = stream_of(pipes[0], case, **settings, eta=0.9)
    after(moving(8))
    torch.testing.assert_close(changed.latents[4:], after.latents[4:])
    assert not torch.equal(changed.latents[0], after.latents[0])
