"""Files as training code saves them: pickled, in nested tables, under names with its wrappers."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.errors import ModelError

LORA_TABLES = ("generator_lora", "lora_state_dict", "lora", "state_dict")
"""Keys under which training code saves a LoRA; that of a critic is of no use here."""
_WRAPPERS = re.compile(
    r"(?:^|(?<=\.))(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\."
)
"""Parts of names that sharding, checkpointing and compiling leave behind."""


def read_pickled(path: Path) -> dict[str, Any]:
    """Return the table in a pickled file, mapped, not copied, without running code in it.

    Raises:
        ModelError: it holds more than weights, or no table.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise ModelError(
            f"{path} holds more than weights, which could run code; get it as .safetensors"
        ) from None
    if not isinstance(checkpoint, dict):
        raise ModelError(f"{path} holds no table of weights")
    return checkpoint


def lora_tensors(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of the LoRA in a checkpoint, out of the table that it may be in."""
    tables = (checkpoint.get(name) for name in LORA_TABLES)
    table = next((table for table in tables if isinstance(table, Mapping)), checkpoint)
    return {name: value for name, value in table.items() if isinstance(value, Tensor)}


def plain_name(name: str) -> str:
    """Return the name of a weight without the parts that training code's wrappers add."""
    return _WRAPPERS.sub("", name)
