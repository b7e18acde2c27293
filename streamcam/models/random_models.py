"""Models with random weights in real shapes, to measure speed without a download.

``random:sd-turbo`` has the true shapes of SD-Turbo; ``random:small-sd-turbo`` has 9 million
parameters, ``random:tiny-sd-turbo`` next to none. Their images mean nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from streamcam.errors import ModelError, suggest

CLIP_TOKENS = 77
CPU = torch.device("cpu")
DRAWS_WEIGHTS = ("cuda", "meta")
"""Types of devices that random weights are made on; others get them from the CPU."""

UNETS: dict[str, dict[str, Any]] = {
    "sd-1.5": {"attention_head_dim": 8, "cross_attention_dim": 768},
    "sd-2.1": {
        "attention_head_dim": [5, 10, 20, 20],
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
    },
    "sdxl": {
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "attention_head_dim": [5, 10, 20],
        "transformer_layers_per_block": [1, 2, 10],
        "cross_attention_dim": 2048,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
CLIPS: dict[str, list[dict[str, Any]]] = {
    "sd-1.5": [{"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12}],
    "sd-2.1": [{"hidden_size": 1024, "num_hidden_layers": 23, "num_attention_heads": 16}],
    "sdxl": [
        {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
        {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20},
    ],
}
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sd-1.5": ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1}),
    "sd-2.1": (
        "DDIMScheduler",
        {"prediction_type": "v_prediction", "steps_offset": 1, "clip_sample": False},
    ),
    "sd-turbo": (
        "EulerDiscreteScheduler",
        {"timestep_spacing": "trailing", "steps_offset": 1},
    ),
    "sdxl": ("EulerDiscreteScheduler", {"steps_offset": 1}),
    "sdxl-turbo": (
        "EulerAncestralDiscreteScheduler",
        {"timestep_spacing": "trailing", "steps_offset": 1},
    ),
}
BASES = {"sd-turbo": "sd-2.1", "sdxl-turbo": "sdxl"}
SCALES = {"tiny": (16, 32), "small": (64, 128, 192)}
VAE_WIDTHS = {"tiny": 8, "small": 16}


def random_pipeline(
    name: str,
    seed: int = 0,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device = CPU,
) -> Any:
    """Return a diffusers pipeline called ``[tiny-|small-]ARCHITECTURE`` with random weights.

    An NVIDIA GPU draws them itself, which takes a tenth of the time; they are other ones than on a
    CPU, the same each time.

    Raises:
        ModelError: no such architecture.
    """
    scale, _, rest = name.partition("-")
    architecture = rest if scale in SCALES else name
    if architecture not in SCHEDULERS:
        known = [f"{prefix}{a}" for prefix in ("", "small-", "tiny-") for a in SCHEDULERS]
        raise ModelError(f'no random model "{name}": {suggest(name, known)}')
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        if device.type not in DRAWS_WEIGHTS:
            return _pipeline(architecture, SCALES.get(scale)).to(dtype)
        with _made_on(device, dtype):
            return _pipeline(architecture, SCALES.get(scale))


@contextmanager
def _made_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Make weights on `device`, in `dtype` at once: in float32 a large model may not fit there."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


def random_tiny_vae(latent_channels: int = 4, *, width: int = 64, seed: int = 1) -> Any:
    """Return an `AutoencoderTiny` of TAESD's shape, `width` channels wide."""
    import diffusers

    channels = (width,) * 4
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = diffusers.AutoencoderTiny(
            latent_channels=latent_channels,
            encoder_block_out_channels=channels,
            decoder_block_out_channels=channels,
        )
    _calibrate(vae)
    return vae


@torch.no_grad()
def _calibrate(vae: Any) -> None:
    """Scale encoder and decoder so that a test image keeps some contrast."""
    ramp = torch.linspace(-1, 1, 64)
    image = torch.stack([ramp.expand(64, 64), ramp.expand(64, 64).T, -ramp.expand(64, 64)])[None]
    latents = _standardise(vae.encoder, image, std=1.0, gain=1)
    # The decoder doubles its result, to reach from -1 to 1.
    _standardise(vae.decoder, latents, std=0.5, gain=2)


def _standardise(half: Any, x: Tensor, *, std: float, gain: int) -> Tensor:
    """Give every channel of ``half(x)`` mean 0 and this standard deviation; return ``half(x)``."""
    last, before = half.layers[-1], half(x)
    last.weight *= (std / before.std((0, 2, 3))).reshape(-1, 1, 1, 1)
    last.bias -= half(x).mean((0, 2, 3)) / gain
    result: Tensor = half(x)
    return result


def tiny_vae_width(name: str) -> int:
    """Return the width of the tiny autoencoder of the random model `name`; TAESD has 64."""
    return VAE_WIDTHS.get(name.partition("-")[0], 64)


def _pipeline(architecture: str, channels: tuple[int, ...] | None) -> Any:
    import diffusers

    base = BASES.get(architecture, architecture)
    clips = [_clip(shape, channels) for shape in CLIPS[base]]
    parts = {
        "unet": diffusers.UNet2DConditionModel(**_unet(base, channels)),
        "vae": diffusers.AutoencoderKL(**_vae(channels)),
        "scheduler": _scheduler(architecture),
        "text_encoder": _text_encoder(clips[0], projected=False),
        "tokenizer": _tokenizer(),
    }
    if base == "sdxl":
        parts["text_encoder_2"] = _text_encoder(clips[1], projected=True)
        parts["tokenizer_2"] = _tokenizer()
        return diffusers.StableDiffusionXLPipeline(**parts)
    return diffusers.StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


def _scheduler(architecture: str) -> Any:
    import diffusers

    name, settings = SCHEDULERS[architecture]
    # Its tables are for NumPy: in float32 on the CPU, wherever the weights are.
    with _made_on(CPU, torch.float32):
        return getattr(diffusers, name)(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **settings
        )


def _unet(base: str, channels: tuple[int, ...] | None) -> dict[str, Any]:
    shape = {"sample_size": 64, "layers_per_block": 2} | UNETS[base]
    if channels is None:
        return shape
    levels = len(channels)
    shape |= {
        "sample_size": 32,
        "layers_per_block": 1,
        "block_out_channels": channels,
        "down_block_types": ["CrossAttnDownBlock2D"] * (levels - 1) + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * (levels - 1),
        "attention_head_dim": [max(2, c // 32) for c in channels],
        "cross_attention_dim": sum(_clip(clip, channels)["hidden_size"] for clip in CLIPS[base]),
        "norm_num_groups": 8,
    }
    if base == "sdxl":
        projected = _clip(CLIPS[base][1], channels)["hidden_size"]
        shape |= {
            "transformer_layers_per_block": 1,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + projected,
        }
    return shape


def _clip(shape: dict[str, Any], channels: tuple[int, ...] | None) -> dict[str, Any]:
    if channels is None:
        return shape
    width = 2 * channels[-1] if shape["num_hidden_layers"] == 32 else channels[-1]
    return {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 4}


def _text_encoder(shape: dict[str, Any], *, projected: bool) -> Any:
    import transformers

    tokens = len(_vocabulary())
    config = transformers.CLIPTextConfig(
        **shape,
        vocab_size=tokens,
        intermediate_size=4 * shape["hidden_size"],
        max_position_embeddings=CLIP_TOKENS,
        projection_dim=shape["hidden_size"],
        bos_token_id=tokens - 2,
        eos_token_id=tokens - 1,
        pad_token_id=tokens - 1,
    )
    kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return kind(config).eval()


def _vae(channels: tuple[int, ...] | None) -> dict[str, Any]:
    widths = (128, 256, 512, 512) if channels is None else (8, 8, 16, 16)
    return {
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2 if channels is None else 1,
        "norm_num_groups": 32 if channels is None else 4,
        "sample_size": 512,
    }


def _vocabulary() -> dict[str, int]:
    # CLIP's byte-level alphabet without merges: every text is tokenised letter by letter.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unprintable = 256 - len(printable)
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(unprintable)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    return {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}


def _tokenizer() -> Any:
    import transformers

    return transformers.CLIPTokenizer(vocab=_vocabulary(), merges=[], model_max_length=CLIP_TOKENS)
