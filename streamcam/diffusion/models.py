"""A checkpoint as stages, tensors to tensors: its variety ends here.

Whatever the model predicts, `denoise` gives the noise; whatever the autoencoder, `encode`
and `decode` deal in scaled latents; latents are float32 outside, whatever runs inside.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.accelerate import accelerator
from streamcam.config import Config
from streamcam.diffusion.attention import PromptCache, join_frames
from streamcam.diffusion.checkpoint import load_pipeline
from streamcam.diffusion.family import Say
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.schedule import signal_and_noise
from streamcam.errors import ConfigError

LCM_GUIDANCE = 8.5
"""The guidance scale that latent consistency models run at (diffusers' own default)."""


class Text(NamedTuple):
    """What the text encoders make of one text."""

    embeds: Tensor
    """``(1, L, D)``."""
    pooled: Tensor | None
    """``(1, P)`` for SDXL."""


class Condition(NamedTuple):
    """What every row of a U-Net call is told, beside its timestep."""

    states: Tensor
    """``(rows, L, D')``: embeddings, with cached keys and values after them."""
    pooled: Tensor | None
    """``(rows, P)`` for SDXL."""
    time_ids: Tensor | None
    """``(rows, 6)`` for SDXL: original size, crop and target size."""


class Models(NamedTuple):
    """The stages of one checkpoint, and the numbers that the mathematics needs of it."""

    encode_text: Callable[[str], Text]
    encode: Callable[[Tensor, Tensor | None], Tensor]
    """``(f, 3, H, W)`` in [-1, 1] to latents ``(f, C, h, w)``; noise of that shape if `samples`."""
    denoise: Callable[[Tensor, Tensor, Condition], Tensor]
    """``(rows, C, h, w)``, ``(rows,)`` and conditions to the noise ``(rows, C, h, w)``."""
    decode: Callable[[Tensor], Tensor]
    """Latents ``(f, C, h, w)`` to ``(f, 3, H, W)``, nominally in [-1, 1]."""
    expand: Callable[[Tensor], Tensor]
    """``(b, L, D)`` to ``(b, L, D')``: adds the cached keys and values."""
    alphas_cumprod: Tensor
    """``(train timesteps,)`` float32."""
    latent_shape: tuple[int, int, int]
    samples: bool
    """Whether `encode` uses its noise."""
    time_ids: Tensor | None
    device: torch.device


def load_models(config: Config, say: Say = print) -> Models:
    """Load what `config` names and put it on its device.

    Raises:
        ConfigError: the device is not there, or the size does not fit the model.
        ModelError: something is missing, damaged or does not fit.
    """
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    pipe = load_pipeline(config, dtype, say)
    say(f"on {device} as {str(dtype).removeprefix('torch.')}, {config.acceleration}")
    return from_pipeline(pipe, config, device)


def from_pipeline(pipe: Any, config: Config, device: torch.device) -> Models:
    """Return the stages of a diffusers pipeline."""
    from diffusers import LCMScheduler

    unet, vae = pipe.unet, pipe.vae
    for module in (unet, vae, *text_encoders(pipe)):
        module.to(device).eval().requires_grad_(False)
    # Convolutions on large pictures run twice as fast so; on small latents it makes no odds.
    vae.to(memory_format=torch.channels_last)
    if vae.config.get("force_upcast") and vae.dtype == torch.float16:
        vae.float()  # This autoencoder overflows in half precision.
    n, f = config.num_steps, config.frame_buffer_size
    expand: Any = PromptCache(unet).to(device) if config.cache_prompt_kv else nn.Identity()
    if config.cross_frame_attention:
        negative = GUIDANCE[config.cfg_type].negative_rows(n) * f
        join_frames(unet, [negative, n * f] if negative else [n * f])
    # The LCM scheduler reads every way in which configs give betas.
    scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    alphas_cumprod = scheduler.alphas_cumprod.float().to(device)
    prediction = pipe.scheduler.config.prediction_type
    scale = 2 ** (len(vae.config.get("block_out_channels", ())) - 1)
    if config.width % scale or config.height % scale:
        raise ConfigError(f"this model's pictures need sides that are multiples of {scale}")
    accelerate = accelerator(config.acceleration)
    return Models(
        encode_text=lambda text: encode_text(pipe, text, device),
        encode=accelerate(Encode(vae)),
        denoise=accelerate(Denoise(unet, prediction, alphas_cumprod)),
        decode=accelerate(Decode(vae)),
        expand=expand,
        alphas_cumprod=alphas_cumprod,
        latent_shape=(vae.config.latent_channels, config.height // scale, config.width // scale),
        samples=hasattr(vae, "quant_conv"),
        time_ids=_time_ids(unet, config, device),
        device=device,
    )


def pick_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` takes the first accelerator there is.

    Raises:
        ConfigError: there is no such device here.
    """
    found = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "xpu": torch.xpu.is_available(),
        "cpu": True,
    }
    here = [kind for kind, available in found.items() if available]
    if name == "auto":
        return torch.device(here[0])
    device = torch.device(name)
    if device.type not in here or (device.index or 0) >= _count(device.type):
        raise ConfigError(f"no device {name} here; found: {', '.join(here)}")
    return device


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of that name; ``auto`` is half precision on an accelerator."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def text_encoders(pipe: Any) -> list[Any]:
    """Return the pipeline's text encoders: two for SDXL."""
    names = ("text_encoder", "text_encoder_2")
    return [part for name in names if (part := getattr(pipe, name, None)) is not None]


def encode_text(pipe: Any, text: str, device: torch.device) -> Text:
    """Return what the pipeline's own text encoders make of `text`."""
    embeds, *others = pipe.encode_prompt(
        prompt=text, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return Text(embeds, others[1] if len(others) > 1 else None)


class Encode(nn.Module):
    """Pictures to scaled latents."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.scale = vae.config.scaling_factor
        self.shift = vae.config.get("shift_factor") or 0.0

    def forward(self, images: Tensor, noise: Tensor | None) -> Tensor:
        encoded = self.vae.encode(images.to(self.vae.dtype))
        if hasattr(encoded, "latents"):
            latents = encoded.latents.float()
        else:
            posterior = encoded.latent_dist
            latents = posterior.mean.float() + posterior.std.float() * noise
        # In plain layout again, which the U-Net takes best.
        result: Tensor = ((latents - self.shift) * self.scale).contiguous()
        return result


class Decode(nn.Module):
    """Scaled latents to pictures."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.scale = vae.config.scaling_factor
        self.shift = vae.config.get("shift_factor") or 0.0

    def forward(self, latents: Tensor) -> Tensor:
        latents = (latents / self.scale + self.shift).to(self.vae.dtype)
        images: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return images


class Denoise(nn.Module):
    """Latents to the noise in them, whatever the U-Net predicts."""

    def __init__(self, unet: Any, prediction: str, alphas_cumprod: Tensor) -> None:
        super().__init__()
        self.unet = unet
        self.noise_from = NOISE_FROM[prediction]
        self.alphas_cumprod: Tensor
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)
        self.guidance_embedding: Tensor | None
        self.register_buffer("guidance_embedding", _guidance_embedding(unet), persistent=False)

    def forward(self, x_t: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        added = None
        if condition.pooled is not None:
            added = {"text_embeds": condition.pooled, "time_ids": condition.time_ids}
        predicted = self.unet(
            x_t.to(self.unet.dtype),
            timesteps,
            encoder_hidden_states=condition.states,
            timestep_cond=self._told_guidance(len(x_t)),
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        alpha, beta = signal_and_noise(timesteps, self.alphas_cumprod)
        return self.noise_from(predicted.float(), x_t, alpha, beta)

    def _told_guidance(self, rows: int) -> Tensor | None:
        embedding = self.guidance_embedding
        return None if embedding is None else embedding.expand(rows, -1)


def _noise_from_epsilon(predicted: Tensor, _x_t: Tensor, _alpha: Tensor, _beta: Tensor) -> Tensor:
    return predicted


def _noise_from_v(predicted: Tensor, x_t: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return alpha * predicted + beta * x_t


def _noise_from_sample(predicted: Tensor, x_t: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return (x_t - alpha * predicted) / beta


NOISE_FROM = {
    "epsilon": _noise_from_epsilon,
    "v_prediction": _noise_from_v,
    "sample": _noise_from_sample,
}
"""How noise follows from what a U-Net predicts, by its scheduler's ``prediction_type``."""


def _guidance_embedding(unet: Any) -> Tensor | None:
    """Return what latent consistency models are told of the guidance distilled into them."""
    if unet.config.time_cond_proj_dim is None:
        return None
    from diffusers import LatentConsistencyModelPipeline as Lcm

    # The method looks at none of its pipeline.
    told: Tensor = Lcm.get_guidance_scale_embedding(
        None, torch.tensor([LCM_GUIDANCE - 1]), embedding_dim=unet.config.time_cond_proj_dim
    )
    return told.to(unet.device, unet.dtype)


def _time_ids(unet: Any, config: Config, device: torch.device) -> Tensor | None:
    if unet.config.addition_embed_type != "text_time":
        return None
    size = (config.height, config.width)
    return torch.tensor([[*size, 0, 0, *size]], dtype=unet.dtype, device=device)
