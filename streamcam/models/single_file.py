"""Load checkpoints in a single file, in the layout of the original repositories."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models import model_files
from streamcam.models.families import FAMILIES, Report
from streamcam.models.scheduler_config import predicting
from streamcam.models.single_file_weights import original_weights, prediction_in
from streamcam.models.weights import check_no_missing_weights, explain_load_errors, safe_tensors
from streamcam.settings.config import Config

FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
VAE_PREFIX = "first_stage_model."
PIPELINES = {
    "sd-1": "StableDiffusionPipeline",
    "sd-2": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
}
FIRST_ENCODER = "conditioner.embedders.0."
"""Prefix of SDXL's first text encoder; the second one is what the family is recognised by."""


def load_single_file(
    path: Path, config: Config, dtype: torch.dtype, report: Report, *, own_vae: bool
) -> Any:
    """Return the pipeline in the file at `path`; report where its config files come from.

    Args:
        path: a ``.safetensors`` file.
        config: names the config files, if any.
        dtype: of the weights.
        report: takes a line at a time.
        own_vae: whether the autoencoder in the file is wanted; else the pipeline has none.

    Raises:
        ModelError: it is no checkpoint of a known family, is damaged, lacks a part or its config.
    """
    with explain_load_errors(str(path), path, "fetch it again"):
        stored, header = safe_tensors(path)
        weights = original_weights(stored, dtype)
        prediction = prediction_in(stored, header)
    family = _family(path, weights, own_vae=own_vae)
    config_source = config.single_file_config or FAMILIES[family].config
    folder = _config_folder(path, config_source, offline=config.offline)
    report(
        f"{path.name} has no config of its own: read as {config_source} describes it"
        + ("" if config.single_file_config else " (--set single_file_config=… for another)")
    )
    remedy = "name config files that fit with --set single_file_config=FOLDER"
    with explain_load_errors(f"{path} as {config_source} describes it", folder, remedy):
        pipe = _pipeline(weights, family, folder, dtype, own_vae=own_vae)
        if prediction is not None:
            pipe.scheduler = predicting(
                pipe.scheduler, prediction.kind, zero_snr=prediction.zero_terminal_snr or None
            )
            report(f"{path.name} says of itself that it {prediction}")
    for part, module in pipe.components.items():
        if isinstance(module, torch.nn.Module):
            check_no_missing_weights(module, None, f"{part} of {path}")
    return pipe


def _pipeline(
    weights: Mapping[str, Tensor], family: str, folder: Path, dtype: torch.dtype, *, own_vae: bool
) -> Any:
    """Return the pipeline of these weights; the config files are those in `folder`."""
    import diffusers

    pipeline_class = getattr(diffusers, PIPELINES[family])
    parts: dict[str, Any] = {"unet": diffusers.UNet2DConditionModel}
    parts["vae"] = diffusers.AutoencoderKL if own_vae else None
    loaded = {
        part: kind
        and kind.from_single_file(
            dict(weights), config=str(folder), subfolder=part, dtype=dtype, local_files_only=True
        )
        for part, kind in parts.items()
    }
    return pipeline_class.from_pretrained(
        str(folder),
        **loaded | _text_encoders(weights, family, folder, dtype),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        local_files_only=True,
    )


def _text_encoders(
    weights: Mapping[str, Tensor], family: str, folder: Path, dtype: torch.dtype
) -> dict[str, Any]:
    import transformers
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm

    kinds = {"text_encoder": transformers.CLIPTextModel}
    if family == "sdxl":
        kinds["text_encoder_2"] = transformers.CLIPTextModelWithProjection
    return {
        part: create_diffusers_clip_model_from_ldm(
            kind,
            dict(weights),
            subfolder=part,
            config=str(folder),
            torch_dtype=dtype,
            local_files_only=True,
        )
        for part, kind in kinds.items()
    }


def _family(path: Path, weights: Mapping[str, Tensor], *, own_vae: bool) -> str:
    family = next((name for name, f in FAMILIES.items() if f.marker_tensor in weights), None)
    if family is None and FIRST_LAYER in weights:
        raise ModelError(
            f"{path} has a U-Net but no text encoder that is known; get the whole checkpoint"
        )
    if family is None or FIRST_LAYER not in weights:
        raise ModelError(
            f"{path} is no whole SD 1.x, SD 2.x or SDXL checkpoint; a LoRA goes with --lora,"
            " an autoencoder with --vae"
        )
    channels = weights[FIRST_LAYER].shape[1]
    if channels != 4:
        raise ModelError(
            f"{path} takes {channels} channels, not 4: inpainting and depth models cannot run as"
            " a stream; choose the plain model"
        )
    if family == "sdxl" and not any(name.startswith(FIRST_ENCODER) for name in weights):
        raise ModelError(f"{path} lacks its first text encoder; get the whole checkpoint")
    if own_vae and not any(name.startswith(VAE_PREFIX) for name in weights):
        raise ModelError(f"{path} has no autoencoder of its own; name one with --vae")
    return family


def _config_folder(path: Path, config_source: str, *, offline: bool) -> Path:
    try:
        folder = model_files.config_folder(config_source, offline=offline)
    except ModelError as error:
        raise ModelError(
            f"{path.name} needs the config files of its family ({error});"
            " or give them with --set single_file_config=FOLDER"
        ) from None
    if not (folder / "model_index.json").exists():
        raise ModelError(
            f"{config_source} cannot describe {path.name}: it has no model_index.json;"
            " name a folder in diffusers layout with --set single_file_config=FOLDER"
        )
    return folder
