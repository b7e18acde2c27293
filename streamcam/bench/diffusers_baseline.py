"""Image-to-image pipeline of diffusers on the same weights: the baseline of ``bench engines``.

It is part of the product, and not of the checkout's benchmarks, since ``streamcam bench engines``
shows every speed as a multiple of it, and users compare their own models and machines with it.
diffusers is a dependency anyway, so that nothing is installed for it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from streamcam.bench.candidates import Candidate
from streamcam.bench.harness import changed, iter_frames, no_report
from streamcam.engines.dtypes import dtype_of
from streamcam.models.checkpoint import load_pipeline
from streamcam.settings.config import Config
from streamcam.types import Image


def diffusers_candidate(
    config: Config, scene: Sequence[Image], dtype: str, device: torch.device
) -> Candidate:
    """Return diffusers' pipeline with LCM's scheduler, as many steps and the same guidance.

    Its guidance is classifier-free guidance, which is the only kind that it has.
    """
    step = _step(config, scene, dtype_of(dtype), device)
    name = f"diffusers' pipeline {dtype}"
    return Candidate(name, step, 1, 1, dtype_of(dtype), is_baseline=True)


def _step(
    config: Config, scene: Sequence[Image], dtype: torch.dtype, device: torch.device
) -> Callable[[], Any]:
    plain = config.live.model_copy(update={"lora_scale": ()})
    fused = changed(config, live_loras=False, live=plain)
    pipe = load_pipeline(fused, dtype, no_report, device).to(device)
    from diffusers import AutoPipelineForImage2Image, LCMScheduler

    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    img2img = AutoPipelineForImage2Image.from_pipe(pipe)
    img2img.set_progress_bar_config(disable=True)
    frames = iter_frames(scene)
    guidance_scale = config.live.guidance_scale if config.cfg_type != "none" else 1.0

    def step() -> Any:
        # Half the strength of twice the steps: num_steps are made.
        image = img2img.image_processor.numpy_to_pil(next(frames).image[None] / 255)[0]
        return img2img(
            prompt="a lake",
            image=image,
            strength=0.5,
            num_inference_steps=2 * config.num_steps,
            guidance_scale=guidance_scale,
            output_type="np",
        )

    return step
