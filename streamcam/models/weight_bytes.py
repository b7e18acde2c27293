"""Sizes of a model's weights in memory, from the headers of its files: no weights are read."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from streamcam.errors import ModelError
from streamcam.models import hub_cache, model_files, model_names
from streamcam.models.autoencoder import keeps_own
from streamcam.models.families import RANDOM
from streamcam.models.file_headers import header_of, read_json
from streamcam.models.ip_adapter_files import adapter_files
from streamcam.models.presence import drawing_models
from streamcam.settings.config import Config

NAMES = ("diffusion_pytorch_model", "model")
"""Beginnings of the names of the files that are loaded; others hold the same in another form."""
TEXT_PARTS = ("text_encoder", "text_encoder_2")
SINGLE_FILE_VAE = "first_stage_model."
TINY_VAE_ELEMENTS = 2_450_000
DEFAULT_CHANNELS = 320


class ModelSize(NamedTuple):
    """Elements of the weights of a model, and what its activations grow with."""

    elements: int
    """Of all parts that are loaded."""
    channels: int
    """Of the U-Net at the size of the latents."""
    has_tiny_vae: bool
    controlnets: int = 0
    """Elements of ControlNets and of the models that draw for them."""


def model_size(config: Config) -> ModelSize | None:
    """Return the size of the image model of `config`, None where it is not on disk yet."""
    size = _base_size(config)
    if size is None:
        return None
    size = size._replace(controlnets=_control_elements(config))
    if config.ip_adapter is None:
        return size
    try:
        files = adapter_files(config.model_copy(update={"offline": True}))
        added = elements_of([files.adapter, *_files(files.encoder)])
        return size._replace(elements=size.elements + added)
    except (OSError, ValueError, LookupError, TypeError, ModelError):
        return None  # Loading it says what is wrong.


def _control_elements(config: Config) -> int:
    """Return the elements of the ControlNets of `config` that are on disk."""
    names = [*config.controlnet, *drawing_models(config)]
    count = 0
    for name in names:
        with suppress(OSError, ValueError, LookupError, TypeError, ModelError):
            repo, file = model_names.split_file(name)
            path = model_names.local_path(repo) or _cached_folder(repo)
            path = path / file if path else None
            files = _files(path) if path and path.is_dir() else [path] if path else []
            count += elements_of(files)
    return count


def _base_size(config: Config) -> ModelSize | None:
    if config.model.startswith(RANDOM):
        return None
    tiny = not keeps_own(config, "AutoencoderKL")
    branches = _lora_elements(config)
    try:
        path = model_names.local_path(config.model) or _cached_folder(config.model)
        if path is None:
            return None
        if path.is_file():
            counted = _single_file_elements(path, with_vae=not tiny)
            counted += branches + tiny * TINY_VAE_ELEMENTS
            return ModelSize(counted, DEFAULT_CHANNELS, tiny)
        unet = read_json(path / "unet" / "config.json")
        vae = path / "vae" / "config.json"
        own_tiny = vae.exists() and read_json(vae).get("_class_name") == "AutoencoderTiny"
        parts = ["unet", *TEXT_PARTS, *(["vae"] if own_tiny or not tiny else [])]
        elements = branches + sum(elements_of(_files(path / part)) for part in parts)
        added = TINY_VAE_ELEMENTS if tiny and not own_tiny else 0
        return ModelSize(elements + added, int(unet["block_out_channels"][0]), tiny or own_tiny)
    except (OSError, ValueError, LookupError, TypeError, ModelError):
        return None  # Loading it says what is wrong.


def _lora_elements(config: Config) -> int:
    """Return the elements that LoRAs add to a model: those of their files, 0 where they are fused.

    Changes that are not of low rank add more; what a file holds does not say how much.
    """
    if config.fuses_loras:
        return 0
    count = 0
    for name in config.lora:
        with suppress(OSError, ValueError, LookupError, TypeError, ModelError):
            count += elements_of([model_files.lora_file(name, offline=True)])
    return count


def elements_of(files: Iterable[Path]) -> int:
    """Return the number of elements of all tensors in ``.safetensors`` files.

    Raises:
        OSError: a file cannot be read.
        ValueError: a header is damaged.
    """
    return sum(_elements(tensor) for file in files for tensor in header_of(file).values())


def _elements(tensor: dict[str, Any]) -> int:
    count = 1
    for side in tensor["shape"]:
        count *= int(side)
    return count


def _files(folder: Path) -> list[Path]:
    """Return the files of a part that are loaded: of two forms of the weights, the first."""
    files = [f for f in sorted(folder.glob("*.safetensors")) if f.name.startswith(NAMES)]
    files = [f for f in files if "non_ema" not in f.name]
    halved = [f for f in files if ".fp16" in f.name]
    return halved or files


def _single_file_elements(file: Path, *, with_vae: bool) -> int:
    return sum(
        _elements(tensor)
        for name, tensor in header_of(file).items()
        if with_vae or not name.startswith(SINGLE_FILE_VAE)
    )


def _cached_folder(repo: str) -> Path | None:
    folders = [*hub_cache.repo_folder(repo).glob("snapshots/*")]
    return max(folders, key=lambda folder: folder.stat().st_mtime) if folders else None
