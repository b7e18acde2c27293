"""Stream Batch as StreamDiffusion publishes it, in eager: the baseline of the targets.

The same operations in the same order, on diffusers' own modules: the prompt's embeddings repeated
for every row, latents in the models' dtype, images converted by diffusers on the CPU, and the
device waited for at the end of each frame. Only what image to image needs, without guidance.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from streamcam.bench.candidates import Candidate
from streamcam.bench.harness import iter_frames, no_report, synchronize
from streamcam.engines.placement import place
from streamcam.errors import EngineError
from streamcam.models.checkpoint import load_pipeline
from streamcam.settings.config import Config
from streamcam.types import Image

PUBLISHED_CODE = "published code"


def published_candidate(config: Config, scene: Sequence[Image]) -> list[Candidate]:
    """Return the stream of `config`, whose engine is not used.

    Raises:
        EngineError: `config` asks for guidance, or for several frames a call.
    """
    if config.cfg_type != "none" or config.frame_buffer_size != 1:
        raise EngineError("the published code is compared without guidance, one frame a call")
    placement = place(config)
    stream = PublishedStream(config, placement.device, placement.weights_dtype)
    frames = iter_frames(scene)

    def step() -> None:
        stream(next(frames).image)

    n = config.num_steps
    dtype = placement.weights_dtype
    return [Candidate(PUBLISHED_CODE, step, 1, n, dtype, is_baseline=True)]


class PublishedStream:
    """Run frames one at a time through n steps of a batch; the first n - 1 outputs mean nothing."""

    def __init__(self, config: Config, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import LCMScheduler
        from diffusers.image_processor import VaeImageProcessor

        pipe = load_pipeline(config, dtype, no_report, device).to(device)
        self._unet, self._vae = pipe.unet.eval(), pipe.vae.eval()
        self._size = (config.height, config.width)
        self._device, self._dtype = device, dtype
        scale = 2 ** (len(pipe.vae.config.get("block_out_channels", ())) - 1)
        self._processor = VaeImageProcessor(scale)
        n = config.num_steps
        with torch.inference_mode():
            embeds = pipe.encode_prompt(
                prompt=config.live.prompt[0][0],
                device=device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
            )[0]
            self._embeds = embeds.repeat(n, 1, 1)
        scheduler = LCMScheduler.from_config(pipe.scheduler.config)
        scheduler.set_timesteps(config.live.num_inference_steps, device)
        taus = [scheduler.timesteps[i] for i in config.indices(config.live)]
        self._timesteps = torch.stack(taus).to(device)
        boundary = [scheduler.get_scalings_for_boundary_condition_discrete(tau) for tau in taus]
        c_skip, c_out = zip(*boundary, strict=True)
        alphas = torch.stack([scheduler.alphas_cumprod[tau.cpu()] for tau in taus])
        self._c_skip, self._c_out = self._column(c_skip), self._column(c_out)
        self._alpha, self._beta = self._column(alphas.sqrt()), self._column((1 - alphas).sqrt())
        shape = (4, config.height // scale, config.width // scale)
        generator = torch.Generator("cpu").manual_seed(config.live.seed)
        noise = torch.randn((n, *shape), generator=generator)
        self._noise = noise.to(device=device, dtype=dtype)
        self._in_flight = torch.zeros((n - 1, *shape), device=device, dtype=dtype)

    def _column(self, values: Any) -> Tensor:
        column = torch.as_tensor(values).reshape(-1, 1, 1, 1)
        return column.to(device=self._device, dtype=self._dtype)

    @torch.inference_mode()
    def __call__(self, image: Image) -> Any:
        """Return the output ``(1, H, W, 3)`` of the frame that entered n - 1 calls ago."""
        pil = self._processor.numpy_to_pil(image[None] / 255)[0]
        x = self._processor.preprocess(pil, *self._size).to(device=self._device, dtype=self._dtype)
        latents = self._vae.encode(x)
        # TAESD has latents, the full autoencoder a distribution of them.
        z = latents.latents if hasattr(latents, "latents") else latents.latent_dist.sample()
        x_t = (
            self._alpha[0] * (z * self._vae.config.scaling_factor) + self._beta[0] * self._noise[0]
        )
        x_0 = self._denoise(torch.cat((x_t, self._in_flight)))
        decoded = self._vae.decode(x_0[-1:] / self._vae.config.scaling_factor, return_dict=False)[0]
        output = decoded.detach().clone()
        synchronize(self._device)
        return self._processor.postprocess(output, output_type="np")

    def _denoise(self, x_t: Tensor) -> Tensor:
        eps = self._unet(
            x_t, self._timesteps, encoder_hidden_states=self._embeds, return_dict=False
        )[0]
        f_theta = (x_t - self._beta * eps) / self._alpha
        x_0: Tensor = self._c_out * f_theta + self._c_skip * x_t
        if len(x_t) > 1:
            self._in_flight = self._alpha[1:] * x_0[:-1] + self._beta[1:] * self._noise[1:]
        return x_0
