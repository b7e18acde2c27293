"""Cache keys: everything that an engine's files depend on, and its hash."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from streamcam.engines.dtypes import name_of
from streamcam.engines.engine import Engine
from streamcam.version import __version__

KEY_LENGTH = 24


def hash_weights(stage: nn.Module) -> str:
    """Return the SHA-256 of all parameters and buffers of a stage, fused LoRAs included."""
    digest = hashlib.sha256()
    for name, tensor in [*stage.named_parameters(), *stage.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        plain = tensor.detach().cpu().contiguous()
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_structure(stage: nn.Module) -> str:
    """Return the SHA-256 of the stage without its weights: layers, settings, attention."""
    lines = [repr(stage), *_settings(stage)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _settings(stage: nn.Module) -> Iterator[str]:
    """Yield what ``repr`` leaves out: diffusers' configs, and the attention processors."""
    for name, module in stage.named_modules():
        config: Any = getattr(module, "config", None)
        if isinstance(config, Mapping):
            # Names with an underscore record where a model came from, not what it computes.
            own = {k: v for k, v in config.items() if not str(k).startswith("_")}
            yield f"{name}: {json.dumps(own, sort_keys=True, default=str)}"
        processor = getattr(module, "processor", None)
        if processor is not None:
            own = {k: v for k, v in vars(processor).items() if not k.startswith("_")}
            yield f"{name}: {type(processor).__name__} {own}"


def cache_key(
    stage: nn.Module, weights_hash: str, inputs: Sequence[Tensor], engine: Engine
) -> dict[str, Any]:
    """Return, readable, all that an engine of `stage` for `inputs` depends on.

    `weights_hash` is the result of `hash_weights`: it takes a while, and is the same for all
    inputs.
    """
    return {
        "engine": engine.name,
        "stage": type(stage).__name__,
        "inputs": [f"{name_of(t.dtype)} {tuple(t.shape)}" for t in inputs],
        "dtype": name_of(engine.dtype),
        "weights": weights_hash,
        "structure": hash_structure(stage),
        "machine": {"system": platform.system(), "architecture": platform.machine()}
        | dict(engine.fingerprint()),
        "versions": {
            "streamcam": __version__,
            "torch": str(torch.__version__),
            "diffusers": version("diffusers"),
        },
    }


def hash_key(cache_key: dict[str, Any]) -> str:
    """Return the name of the folder of the engine with this cache key."""
    text = json.dumps(cache_key, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]
