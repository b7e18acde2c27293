"""Export trained parts to a folder in diffusers layout, as fp16 safetensors."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from streamcam.embedded_model import NANO, embedded
from streamcam.settings.presets import MODEL_SETTINGS_FILE
from training.model import MAX_BYTES, Parts, pipeline

PACKAGE = embedded(NANO)
assert PACKAGE is not None
FROM_PACKAGE = (PACKAGE / MODEL_SETTINGS_FILE, PACKAGE / "README.md")
"""Settings and model card, which are the same for every edition."""
MODULES = ("unet", "vae", "text_encoder")
ORIGIN_KEYS = {"_name_or_path", "is_local", "local_files_only"}


def export(parts: Parts, folder: Path) -> Path:
    """Write `parts` as a model folder for streamcam, replacing `folder`.

    Raises:
        ValueError: the weights are larger than `MAX_BYTES`.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    half_modules = {name: _half(getattr(parts, name)) for name in MODULES}
    pipeline(parts._replace(**half_modules)).save_pretrained(partial, safe_serialization=True)
    _remove_paths(partial)
    for file in FROM_PACKAGE:
        shutil.copy(file, partial)
    size = weight_bytes(partial)
    if size > MAX_BYTES:
        raise ValueError(f"the weights take {size} bytes, more than {MAX_BYTES}")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


def weight_bytes(folder: Path) -> int:
    """Return the size of all safetensors in `folder`."""
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def _half(module: Any) -> Any:
    # The scales of the pooled prompt and all else lie well within float16.
    return copy.deepcopy(module).half().cpu().to(memory_format=torch.contiguous_format)


def _remove_paths(folder: Path) -> None:
    """Remove the local paths that diffusers writes into config files."""
    for file in folder.rglob("*.json"):
        settings = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(settings, dict) and settings.keys() & ORIGIN_KEYS:
            settings = {key: value for key, value in settings.items() if key not in ORIGIN_KEYS}
            file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
