"""Build the untrained parts of nano as ordinary diffusers classes."""

from typing import Any, NamedTuple

import torch

from training.inits import start_as_identity, wire_colours
from training.tokenizer import TEXT_TOKENS

LATENT_CHANNELS = 32
SCALING_FACTOR = 12.0
"""Latents are this much larger than the noise, so that late steps keep the structure."""
TEXT_WIDTH = 96
MAX_BYTES = 12_000_000
"""Limit for all parts together as fp16 safetensors."""

UNET: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "block_out_channels": (80, 96, 128),
    "time_embedding_dim": 256,
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D",) * 3,
    "up_block_types": ("UpBlock2D",) * 3,
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "cross_attention_dim": TEXT_WIDTH,
    "attention_head_dim": 4,
    "norm_num_groups": 4,
    "resnet_time_scale_shift": "scale_shift",
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
}
VAE: dict[str, Any] = {
    "latent_channels": LATENT_CHANNELS,
    # Most of the work is done at low resolution: no blocks at full size. The decoder, which has
    # to restore lines at full size, costs three times as much as the encoder for its width.
    "encoder_block_out_channels": (48,) * 4,
    "decoder_block_out_channels": (32,) * 4,
    "num_encoder_blocks": (0, 0, 1, 4),
    "num_decoder_blocks": (4, 3, 1, 0),
    "scaling_factor": SCALING_FACTOR,
}
TEXT: dict[str, Any] = {
    "hidden_size": TEXT_WIDTH,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": TEXT_TOKENS,
    "projection_dim": TEXT_WIDTH,
}
SCHEDULER: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "sample",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}
EMBEDDING_STD = 0.3
"""CLIP's own 0.02 lets the positions dominate the words until late in the training."""


class Parts(NamedTuple):
    """Components of a Stable Diffusion pipeline."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any


def build(tokenizer: Any, *, seed: int = 0) -> Parts:
    """Return untrained parts: the U-Net returns its latents, the autoencoder blurred colours."""
    import diffusers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = diffusers.UNet2DConditionModel(**UNET)
        start_as_identity(unet)
        return Parts(
            unet=unet.eval(),
            vae=_autoencoder().eval(),
            text_encoder=_text_encoder(tokenizer).eval(),
            tokenizer=tokenizer,
            scheduler=diffusers.LCMScheduler(**SCHEDULER),
        )


def pipeline(parts: Parts) -> Any:
    """Return `parts` as a diffusers pipeline."""
    import diffusers

    return diffusers.StableDiffusionPipeline(
        **parts._asdict(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sizes(parts: Parts) -> dict[str, int]:
    """Return the number of parameters of each part."""
    modules = {"unet": parts.unet, "vae": parts.vae, "text_encoder": parts.text_encoder}
    return {name: sum(p.numel() for p in module.parameters()) for name, module in modules.items()}


def _autoencoder() -> Any:
    import diffusers

    vae = diffusers.AutoencoderTiny(**VAE)
    wire_colours(vae)
    return vae


def _text_encoder(tokenizer: Any) -> Any:
    import transformers

    encoder = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            **TEXT,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    torch.nn.init.normal_(encoder.get_input_embeddings().weight, std=EMBEDDING_STD)
    return encoder
