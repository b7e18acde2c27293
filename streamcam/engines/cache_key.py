"""What sets one engine apart from another: everything that its files depend on."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import diffusers
import torch
from torch import Tensor, nn

from streamcam.engines.dtypes import name_of
from streamcam.engines.engine import Engine
from streamcam.version import __version__

KEY_LENGTH = 24


def weights_of(stage: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers of a stage, LoRAs in them included."""
    digest = hashlib.sha256()
    for name, tensor in [*stage.named_parameters(), *stage.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        plain = tensor.detach().cpu().contiguous()
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def structure_of(stage: nn.Module) -> str:
    """Return the SHA-256 of what a stage does with its weights: layers, settings, attention."""
    lines = [repr(stage), *_settings(stage)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _settings(stage: nn.Module) -> Iterator[str]:
    """Yield what ``repr`` leaves out: diffusers' configs, and the attention processors."""
    for name, module in stage.named_modules():
        config: Any = getattr(module, "config", None)
        if isinstance(config, Mapping):
            # Names with an underscore tell where a model came from, not what it is.
            own = {k: v for k, v in config.items() if not str(k).startswith("_")}
            yield f"{name}: {json.dumps(own, sort_keys=True, default=str)}"
        processor = getattr(module, "processor", None)
        if processor is not None:
            own = {k: v for k, v in vars(processor).items() if not k.startswith("_")}
            yield f"{name}: {type(processor).__name__} {own}"


def cache_key(
    stage: nn.Module, weights: str, inputs: Sequence[Tensor], engine: Engine
) -> dict[str, Any]:
    """Return, readable, all that an engine of `stage` for `inputs` depends on.

    `weights` is what `weights_of` gave: it takes a while, and is the same for all inputs.
    """
    return {
        "engine": engine.name,
        "stage": type(stage).__name__,
        "inputs": [f"{name_of(t.dtype)} {tuple(t.shape)}" for t in inputs],
        "dtype": name_of(engine.dtype),
        "weights": weights,
        "structure": structure_of(stage),
        "machine": {"system": platform.system(), "architecture": platform.machine()}
        | dict(engine.about()),
        "versions": {
            "streamcam": __version__,
            "torch": str(torch.__version__),
            "diffusers": diffusers.__version__,
        },
    }


def key_of(cache_key: dict[str, Any]) -> str:
    """Return the name that an engine with this identity is kept under."""
    text = json.dumps(cache_key, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]
