"""Load a U-Net that is published as one file, in place of that of its base model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models import model_files
from streamcam.models.families import FAMILIES, Report, family_of
from streamcam.models.single_file_weights import original_weights
from streamcam.models.training_files import read_pickled
from streamcam.models.weights import explain_load_errors, safe_tensors
from streamcam.settings.config import Config

ORIGINAL_PREFIX = "model.diffusion_model."
PREFIXES = (ORIGINAL_PREFIX, "diffusion_model.", "unet.", "module.")
ORIGINAL_LAYER = "input_blocks."
"""Beginning of names in the layout of the original repositories."""
LORA_MARKS = ("lora_down", "lora_up", "lora_A", "lora_B", "lora.down", "lora.up")


def load_unet(pipe: Any, config: Config, dtype: torch.dtype, report: Report) -> None:
    """Load the weights in the file ``config.unet`` into the U-Net of `pipe`.

    Raises:
        ModelError: it is missing, damaged or of another base model.
    """
    assert config.unet is not None
    path = model_files.unet_file(config.unet, offline=config.offline)
    with explain_load_errors(f"the U-Net {path}", path, "fetch it again"):
        if path.suffix.lower() == ".safetensors":
            stored = safe_tensors(path)[0]
        else:
            stored = read_pickled(path)
        weights = _weights(stored, pipe.unet, path, dtype)
    _check_fits(weights, pipe.unet, path, f"{FAMILIES[family_of(pipe)].name} model {config.model}")
    pipe.unet.load_state_dict(weights)
    report(f"U-Net {config.unet}")


def _weights(
    stored: Mapping[str, Tensor], unet: Any, path: Path, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the weights of a U-Net under the names of diffusers."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    if any(mark in name for name in stored for mark in LORA_MARKS):
        raise ModelError(f"{path} is a LoRA, not a U-Net; give it with --lora")
    weights = original_weights(stored, dtype)
    prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in weights)), "")
    # A whole checkpoint has other parts too.
    weights = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
    if any(name.startswith(ORIGINAL_LAYER) for name in weights):
        prefixed = {f"{ORIGINAL_PREFIX}{name}": weight for name, weight in weights.items()}
        weights = convert_ldm_unet_checkpoint(prefixed, dict(unet.config))
    return weights


def _check_fits(weights: Mapping[str, Tensor], unet: Any, path: Path, base: str) -> None:
    expected = unet.state_dict()
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    if missing or unknown:
        wrong = f"lacks {missing[0]}" if missing else f"has {unknown[0][:120]}, which that has not"
        raise ModelError(
            f"{path} is no U-Net for the {base}: it {wrong}; choose one made for it, or name its"
            " base with --model"
        )
    for name, weight in weights.items():
        if weight.shape != expected[name].shape:
            raise ModelError(
                f"{path} is no U-Net for the {base}: its {name} is {tuple(weight.shape)}, not"
                f" {tuple(expected[name].shape)}; choose one made for it, or name its base with"
                " --model"
            )
