"""Load the autoencoder of a model: a tiny one, unless another is named."""

from pathlib import Path
from typing import Any

import torch

from streamcam.errors import ModelError
from streamcam.models import model_files
from streamcam.models.families import FAMILIES, RANDOM, family_of
from streamcam.models.file_headers import read_json
from streamcam.models.random_models import random_tiny_vae, tiny_vae_width
from streamcam.models.weights import check_no_missing_weights, explain_load_errors
from streamcam.settings.config import Config

FULL = "full"
"""Value of `vae` that keeps the model's own autoencoder."""
KINDS = ("AutoencoderTiny", "AutoencoderKL")


def keeps_own(config: Config, kind: str | None) -> bool:
    """Return whether a model runs with its own autoencoder, given the class of that."""
    if config.vae is None:
        return kind == "AutoencoderTiny" or not config.use_tiny_vae
    return config.vae == FULL


def autoencoder(pipe: Any, config: Config, dtype: torch.dtype) -> Any:
    """Return the autoencoder that `config` names for `pipe`, which may be its own.

    Raises:
        ModelError: it is missing or damaged, or its latents do not fit the model.
    """
    if pipe.vae is not None and keeps_own(config, type(pipe.vae).__name__):
        return pipe.vae
    if config.vae is None and config.model.startswith(RANDOM):
        width = tiny_vae_width(config.model.removeprefix(RANDOM))
        return random_tiny_vae(pipe.vae.config.latent_channels, width=width).to(dtype)
    name = config.vae or FAMILIES[family_of(pipe)].tiny_vae
    try:
        folder = model_files.part_folder(name, offline=config.offline)
    except ModelError as error:
        raise ModelError(f"{error}; or use the model's own autoencoder with --vae full") from None
    vae = _load(folder, dtype)
    if vae.config.latent_channels != pipe.unet.config.in_channels:
        raise ModelError(
            f"the autoencoder {name} has latents of {vae.config.latent_channels} channels, the"
            f" model takes {pipe.unet.config.in_channels}; leave --vae away for one that fits"
        )
    return vae


def _load(folder: Path, dtype: torch.dtype) -> Any:
    import diffusers

    file = folder / "config.json"
    with explain_load_errors(f"the autoencoder {folder}", folder, "fetch it again"):
        config = read_json(file) if file.exists() else {}
        kind = config.get("_class_name")
        if kind not in KINDS:
            raise ModelError(
                f"{folder} is no autoencoder in diffusers layout: its config.json must name"
                f" {' or '.join(KINDS)}"
            )
        vae = getattr(diffusers, kind).from_pretrained(
            str(folder), dtype=dtype, use_safetensors=True, local_files_only=True
        )
    check_no_missing_weights(vae, None, f"the autoencoder {folder}")
    return vae
