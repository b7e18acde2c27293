"""A checkpoint as its stages, and the numbers that the mathematics needs: its variety ends here."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from streamcam.diffusion.attention import PromptCache, join_frames
from streamcam.diffusion.conv_folding import fold
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.stages import Condition, Decode, Denoise, Encode, Text
from streamcam.engines.build_process import build_in_child
from streamcam.engines.builder import EngineBuilder
from streamcam.engines.eager import EagerEngine
from streamcam.engines.placement import place
from streamcam.engines.store import Store
from streamcam.errors import ConfigError
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.families import Report
from streamcam.settings.config import Config

ENGINE_BUILD_MAIN = "streamcam.diffusion.engine_build:serve"
"""What a process that builds engines for these models calls; it loads them, as this module does."""


class ImageModel(NamedTuple):
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


def load_image_model(
    config: Config, report: Report = print, *, builds_here: bool = False
) -> ImageModel:
    """Load what `config` names and put it on its device.

    Engines that are missing are built in another process, or in this one if `builds_here`.

    Raises:
        ConfigError: the device is not there, or the size does not fit the model.
        EngineError: the acceleration asked for cannot run here.
        ModelError: something is missing, damaged or does not fit.
    """
    placement = place(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    pipe = load_pipeline(config, placement.weights_dtype, report)
    report(str(placement))
    return from_pipeline(pipe, config, placement.device, report, builds_here=builds_here)


def from_pipeline(
    pipe: Any,
    config: Config,
    device: torch.device,
    report: Report = print,
    *,
    builds_here: bool = False,
) -> ImageModel:
    """Return the stages of a diffusers pipeline, as `config` has them accelerated."""
    from diffusers import LCMScheduler

    unet, vae = pipe.unet, pipe.vae
    for module in (unet, vae, *text_encoders(pipe)):
        module.to(device).eval().requires_grad_(False)
    # Convolutions on large pictures run twice as fast so; on small latents it makes no odds.
    vae.to(memory_format=torch.channels_last)
    if type(vae).__name__ == "AutoencoderTiny":
        for part in (vae.encoder, vae.decoder):
            part.layers = fold(part.layers)
    if vae.config.get("force_upcast") and vae.dtype == torch.float16:
        vae.float()  # This autoencoder overflows in half precision.
    # The LCM scheduler reads every way in which configs give betas.
    scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    alphas_cumprod = scheduler.alphas_cumprod.float().to(device)
    prediction = pipe.scheduler.config.prediction_type
    scale = 2 ** (len(vae.config.get("block_out_channels", ())) - 1)
    if config.width % scale or config.height % scale:
        raise ConfigError(f"this model's pictures need sides that are multiples of {scale}")
    accelerate = _accelerator(config, report, builds_here=builds_here)
    return ImageModel(
        encode_text=lambda text: encode_text(pipe, text, device),
        encode=accelerate(Encode(vae)),
        denoise=accelerate(Denoise(unet, prediction, alphas_cumprod)),
        decode=accelerate(Decode(vae)),
        expand=_attention(unet, config),
        alphas_cumprod=alphas_cumprod,
        latent_shape=(vae.config.latent_channels, config.height // scale, config.width // scale),
        samples=hasattr(vae, "quant_conv"),
        time_ids=_time_ids(unet, config, device),
        device=device,
    )


def _accelerator(
    config: Config, report: Report, *, builds_here: bool
) -> Callable[[nn.Module], Callable[..., Tensor]]:
    """Return what puts a stage on the engine that `config` asks for.

    In float32 without one, a stage is itself.
    """
    placement = place(config)
    engines = list(placement.choice.engines)
    if placement.weights_dtype != torch.float32:
        engines.append(EagerEngine(placement.device, placement.weights_dtype))
    if not engines:
        return lambda stage: stage
    builder = None if builds_here else partial(build_in_child, ENGINE_BUILD_MAIN, config)
    # Unless told otherwise, whoever asks for models wants the same pictures every time.
    waits = config.engine_wait is not False
    return EngineBuilder(engines, Store(config.engine_dir), report, builder=builder, waits=waits)


def _attention(unet: Any, config: Config) -> Callable[[Tensor], Tensor]:
    """Switch the attention of `unet` to what `config` says; return what prepares its texts."""
    n, f = config.num_steps, config.frame_buffer_size
    if config.cross_frame_attention:
        negative = GUIDANCE[config.cfg_type].negative_rows(n) * f
        join_frames(unet, [negative, n * f] if negative else [n * f])
    return PromptCache(unet) if config.cache_prompt_kv else nn.Identity()


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


def _time_ids(unet: Any, config: Config, device: torch.device) -> Tensor | None:
    if unet.config.addition_embed_type != "text_time":
        return None
    size = (config.height, config.width)
    return torch.tensor([[*size, 0, 0, *size]], dtype=unet.dtype, device=device)
