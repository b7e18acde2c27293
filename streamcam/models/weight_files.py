"""The files that a model's weights come from, to know later whether they are still the same."""

import hashlib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from streamcam.errors import ModelError
from streamcam.models import hub_cache, model_names
from streamcam.models.families import FAMILIES, RANDOM
from streamcam.models.presence import FULL
from streamcam.settings.config import Config
from streamcam.settings.control_inputs import MODEL_SETTINGS
from streamcam.system.file_identity import joint_identity
from streamcam.version import __version__

SETTINGS = (
    *("model", "single_file_config", "unet", "prediction_type", "rescale_betas_zero_snr"),
    *("vae", "use_tiny_vae"),
    *("lora", "live_loras", "use_lcm_lora", "lcm_lora_id", "embedding", "offline"),
    *("controlnet", *MODEL_SETTINGS.values()),
)
"""The settings that decide on the weights of an image model."""
PACKAGES = ("diffusers", "transformers", "safetensors")
"""Their versions decide on how weights are read, besides those of torch and of streamcam."""


def weights_source(config: Config, dtype: torch.dtype) -> tuple[str, str | None]:
    """Return a hash of all that the weights follow from, and the identity of their files.

    The identity is None where a file cannot be read or has just been changed.
    """
    values = [*(repr(getattr(config, name)) for name in SETTINGS), str(dtype), __version__]
    values += [str(torch.__version__), *map(version, PACKAGES)]
    # A relative path is another file in another folder, and a repository in another cache.
    files = [*weight_files(config)]
    values += sorted({str(file.parent) for file in files})
    text = "\0".join(values).encode("utf-8", "backslashreplace")
    return hashlib.sha256(text).hexdigest(), joint_identity(files)


def weight_files(config: Config) -> list[Path]:
    """Return every file that the model of `config` may be loaded from, and some besides."""
    names = [config.model, config.unet, *config.lora, *config.embedding, config.vae]
    names += [config.lcm_lora_id, config.single_file_config]
    names += [*config.controlnet, *(getattr(config, name) for name in MODEL_SETTINGS.values())]
    for family in FAMILIES.values():
        names += [family.tiny_vae, family.lcm_lora, family.config]
    wanted = dict.fromkeys(name for name in names if name and name != FULL)
    return [
        file.absolute()
        for name in wanted
        if not name.startswith(RANDOM)
        for file in _files_of(name)
    ]


def _files_of(name: str) -> Iterator[Path]:
    try:
        path = model_names.local_path(name)
    except ModelError:
        # A pickled U-Net is a file too; else it may be one file of a repository on the hub.
        path = Path(name) if Path(name).is_file() else None
    if path is None:
        repo = hub_cache.repo_folder("/".join(name.split("/")[:2]))
        folders = [repo / "refs", *repo.glob("snapshots/*")]
    elif path.is_dir():
        folders = [path]
    else:
        yield path
        return
    for folder in folders:
        # As diffusers' layout has them: the parts of a model are folders in its own.
        yield from (file for level in ("*", "*/*") for file in folder.glob(level) if file.is_file())
