"""Run a recorded case of the reference data through `DiffusionStream`.

Noise that the reference drew from generators of its own is injected; everything else, from the
input frame to the output, is streamcam's.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.diffusion import sampler as sampler_module
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.diffusion.stream_batch import Noise, StepPlan, guided_step
from streamcam.frames.image_tensors import to_tensor
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from tests.support.streams import EAGER

Tensors = dict[str, Tensor]


def config_of(case: dict[str, Any], models: Path) -> Config:
    """Return the Config of a recorded case."""
    vae = "full" if case["vae"] == "pipe" else str(models / case["vae"])
    names = ("cfg_type", "t_index_list", "num_inference_steps", "guidance_scale", "delta")
    names += ("do_add_noise", "use_denoising_batch", "frame_buffer_size", "width", "height")
    names += ("seed", "prompt", "negative_prompt")
    settings = (
        {name: case[name] for name in names}
        | {
            "model": str(models / case["model"]),
            "vae": vae,
            "mode": "img2img" if case["mode"] == "img2img" else "txt2img",
            "use_lcm_lora": False,
            "fit": "stretch",
            "device": "cpu",
        }
        | EAGER
    )
    return build_config([settings])


@cache
def _models(model: str, vae: str, width: int, height: int) -> ImageModel:
    settings = {"model": model, "vae": vae, "width": width, "height": height, "device": "cpu"}
    return load_image_model(
        build_config([settings | EAGER | {"use_lcm_lora": False}]), report=lambda _: None
    )


class Run:
    """One case, call by call; its attributes collect what the reference recorded too."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.x0_latent: list[Tensor] = []
        self.output: list[Tensor] = []
        self.x_t_in: list[Tensor] = []
        self.models = _models(config.model, str(config.vae), config.width, config.height)
        self.stream = DiffusionStream(self.models._replace(decode=self._decode), config)

    def _decode(self, x_0: Tensor) -> Tensor:
        images = self.models.decode(x_0)
        self.x0_latent.append(x_0.clone())
        self.output.append(images.clone())
        return images

    @property
    def init_noise(self) -> Tensor:
        """Return the noise drawn for the seed, ``(n, C, h, w)``."""
        return self.stream.sampler.noise.stock[:, 0]

    def state(self) -> Tensors:
        """Return the state after the last call, in the layout of the reference."""
        sampler = self.stream.sampler
        assert sampler.in_flight is not None
        steps, noise, state = sampler.steps, sampler.noise, sampler.in_flight
        ratio = steps.alpha[1:] / steps.beta[1:]
        x_t = steps.alpha[1:] * state.x_0 + steps.beta[1:] * noise.added[1:]
        stock = noise.stock[1:] + ratio * state.residual
        return {"x_t_latent_buffer": x_t.flatten(0, 1), "stock_noise": stock.flatten(0, 1)}


def stream_batch_case(
    config: Config, frames: Tensor, x_noise: Tensor | None, prompts: dict[int, str]
) -> tuple[Run, list[Tensors]]:
    """Run a case through the stream; return also the state after every call."""
    run = Run(config)
    states = []
    parameters = config.live
    original = sampler_module.stream_batch

    def recorded(x_t: Tensor, *args: Any) -> Any:
        run.x_t_in.append(x_t.clone())
        return original(x_t, *args)

    sampler_module.stream_batch = recorded
    try:
        for call, group in enumerate(frames):
            if call in prompts:
                parameters = parameters.changed({"prompt": prompts[call]})
            if x_noise is not None:
                run.stream.sampler.draw_noise = lambda call=call: x_noise[call]  # type: ignore[method-assign]
            for slot, image in enumerate(group):
                run.stream(Frame(image.numpy(), call * len(group) + slot, 0.0), parameters)
            states.append(run.state() if config.num_steps > 1 else {})
    finally:
        sampler_module.stream_batch = original
    return run, states


@torch.inference_mode()
def published_sequential_case(
    config: Config, frames: Tensor, x_noise: Tensor | None, step_noise: Tensor | None, *, asis: bool
) -> Run:
    """Run a case as the published code does without a denoising batch.

    Its steps are independent: fresh noise between steps, residual noise that is never carried
    to the next step (zero for ``self``, the negative prediction for ``initialize`` at every step),
    and, `asis`, the previous call's latents in place of the first step's noise. streamcam's
    own sequential path carries the residual noise instead, and so equals Stream Batch.
    """
    run = Run(config)
    sampler, n = run.stream.sampler, config.num_steps
    first_noise = sampler.noise.added[:1]
    for call, group in enumerate(frames):
        plan = StepPlan(
            sampler.steps,
            Noise(sampler.noise.added, torch.zeros_like(sampler.noise.stock)),
            GUIDANCE[config.cfg_type],
            config.live.guidance_scale,
            config.live.delta,
        )
        if x_noise is not None:
            x_t = x_noise[call]
        else:
            images = to_tensor([image.numpy() for image in group], run.models.device)
            start = replace(plan, noise=Noise(first_noise, plan.noise.stock))
            x_t = start.add_noise(run.models.encode(images, None))
            if asis:
                first_noise = x_t[:1].unsqueeze(0)
        run.x_t_in.append(x_t.clone())
        x_0 = x_t.unsqueeze(0)
        for i in range(n):
            step = replace(
                plan,
                steps=plan.steps.only(i),
                noise=Noise(plan.noise.added[:1], plan.noise.stock[:1]),
            )
            if i:
                x_t = (step.steps.alpha * x_0)[0]
                if step_noise is not None:
                    x_t = x_t + step.steps.beta[0] * step_noise[call, i - 1]
            rows = x_t.unsqueeze(0)
            x_0, _, _ = guided_step(rows, torch.zeros_like(rows), step, sampler.predict_noise)
        run._decode(x_0[0])
    return run
