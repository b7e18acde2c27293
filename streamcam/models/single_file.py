"""Load checkpoints in a single file, in the layout of the original repositories."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from streamcam.errors import ModelError
from streamcam.models import hub
from streamcam.models.families import FAMILIES, Report
from streamcam.models.weights import check_no_missing_weights, explain_load_errors, tensor_names
from streamcam.settings.config import Config

FIRST_LAYER = "model.diffusion_model.input_blocks.0.0.weight"
PIPELINES = {
    "sd-1": "StableDiffusionPipeline",
    "sd-2": "StableDiffusionPipeline",
    "sdxl": "StableDiffusionXLPipeline",
}


def load_single_file(path: Path, config: Config, dtype: torch.dtype, report: Report) -> Any:
    """Return the pipeline in the file at `path`; report where its config files come from.

    Raises:
        ModelError: it is no checkpoint of a known family, is damaged, or lacks its config.
    """
    import diffusers

    family = _family(path)
    config_source = config.single_file_config or FAMILIES[family].config
    folder = _config_folder(path, config_source, offline=config.offline)
    report(
        f"{path.name} has no config of its own: read as {config_source} describes it"
        + ("" if config.single_file_config else " (--set single_file_config=… for another)")
    )
    pipeline_class = getattr(diffusers, PIPELINES[family])
    remedy = "name config files that fit with --set single_file_config=FOLDER"
    with explain_load_errors(f"{path} as {config_source} describes it", path, remedy):
        pipe = pipeline_class.from_single_file(
            str(path), config=str(folder), dtype=dtype, local_files_only=True, safety_checker=None
        )
    for part, module in pipe.components.items():
        if isinstance(module, torch.nn.Module):
            check_no_missing_weights(module, None, f"{part} of {path}")
    return pipe


def _family(path: Path) -> str:
    names = tensor_names(path)
    family = next((name for name, f in FAMILIES.items() if f.marker_tensor in names), None)
    if family is None or FIRST_LAYER not in names:
        raise ModelError(
            f"{path} is no whole SD 1.x, SD 2.x or SDXL checkpoint; a LoRA goes with --lora,"
            " an autoencoder with --vae"
        )
    with safe_open(path, "pt") as weights:
        channels = weights.get_slice(FIRST_LAYER).get_shape()[1]
    if channels != 4:
        raise ModelError(
            f"{path} takes {channels} channels, not 4: inpainting and depth models cannot run as"
            " a stream; choose the plain model"
        )
    return family


def _config_folder(path: Path, config_source: str, *, offline: bool) -> Path:
    try:
        folder = hub.config_folder(config_source, offline=offline)
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
