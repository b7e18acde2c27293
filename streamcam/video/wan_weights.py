"""Load published Wan weights into diffusers' models, whose shapes are read off the tensors."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from streamcam.errors import ModelError
from streamcam.models.training_files import plain_name
from streamcam.models.weights import not_finite

HEAD_DIM = 128
"""Head dimension of every published Wan transformer."""

WRAPPERS = ("generator_ema", "generator", "state_dict", "model", "generator_lora")
"""Keys under which training code saves the weights, the preferred ones first."""
PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.", "net.", "module.")


def unwrap(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, out of the dicts and prefixes that training code adds."""
    tables = (checkpoint.get(name) for name in WRAPPERS)
    inner = next((table for table in tables if table and isinstance(table, Mapping)), None)
    if inner is not None:
        return unwrap(inner)
    tensors = {name: value for name, value in checkpoint.items() if isinstance(value, Tensor)}
    weights = {plain_name(name): value for name, value in tensors.items()}
    for prefix in PREFIXES:
        if weights and all(name.startswith(prefix) for name in weights):
            return unwrap({name.removeprefix(prefix): value for name, value in weights.items()})
    return weights


def wan_config(weights: Mapping[str, Tensor], *, head_dim: int = HEAD_DIM) -> dict[str, Any]:
    """Return the config of the transformer with these weights, by their published names.

    Raises:
        ModelError: they are not of a text-to-video Wan transformer.
    """
    if any(".lora_" in name for name in weights):
        raise ModelError("this is a LoRA, not a whole model: name it with --lora")
    try:
        dim, channels, *patch = weights["patch_embedding.weight"].shape
        text_dim = weights["text_embedding.0.weight"].shape[1]
        freq_dim = weights["time_embedding.0.weight"].shape[1]
        ffn_dim = weights["blocks.0.ffn.0.weight"].shape[0]
        out = weights["head.head.weight"].shape[0]
    except KeyError as error:
        raise ModelError(
            f"these are not the weights of a Wan transformer: {error.args[0]} is missing"
        ) from None
    layers = {int(match[1]) for name in weights if (match := re.match(r"blocks\.(\d+)\.", name))}
    if "img_emb.proj.0.weight" in weights or channels != out // (patch[0] * patch[1] * patch[2]):
        raise ModelError("this Wan transformer starts from an image; take a text-to-video one")
    return {
        "patch_size": tuple(patch),
        "num_attention_heads": dim // head_dim,
        "attention_head_dim": head_dim,
        "in_channels": channels,
        "out_channels": channels,
        "text_dim": text_dim,
        "freq_dim": freq_dim,
        "ffn_dim": ffn_dim,
        "num_layers": len(layers),
    }


def select_layers(weights: Mapping[str, Tensor], layers: range) -> dict[str, Tensor]:
    """Return the weights of these layers, numbered from 0, and all that belong to no layer.

    Of a mapped file no other weights are read.
    """
    selected = {}
    for name in weights:
        match = re.match(r"blocks\.(\d+)\.(.*)", name)
        if not match:
            selected[name] = weights[name]
        elif int(match[1]) in layers:
            selected[f"blocks.{layers.index(int(match[1]))}.{match[2]}"] = weights[name]
    return selected


def load_wan_transformer(
    weights: Mapping[str, Tensor], dtype: torch.dtype, *, head_dim: int = HEAD_DIM
) -> Any:
    """Return diffusers' transformer with these weights, by their published names.

    Raises:
        ModelError: they are of another model, or incomplete.
    """
    from diffusers import WanTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    with torch.device("meta"):
        model = WanTransformer3DModel(**wan_config(weights, head_dim=head_dim))
    load_weights(model, convert_wan_transformer_to_diffusers(dict(weights)), dtype)
    return model


def load_wan_vae(weights: Mapping[str, Tensor], dtype: torch.dtype) -> Any:
    """Return diffusers' autoencoder with these weights, by their published names.

    Raises:
        ModelError: they are of another model, or incomplete.
    """
    from diffusers import AutoencoderKLWan
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    try:
        base, z_dim = len(weights["decoder.head.0.gamma"]), len(weights["conv2.weight"])
    except KeyError as error:
        raise ModelError(
            f"these are not the weights of the Wan autoencoder: {error.args[0]} is missing"
        ) from None
    with torch.device("meta"):
        model = AutoencoderKLWan(base_dim=base, z_dim=z_dim)
    load_weights(model, convert_wan_vae_to_diffusers(dict(weights)), dtype)
    return model


def load_weights(model: Any, weights: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Load weights into `model`, made on the meta device; norms and modulation stay float32.

    Raises:
        ModelError: some are missing, of another shape, or of another model.
    """
    expected = dict(model.named_parameters())
    cast = {name: value.to(_dtype_of(model, name, dtype)) for name, value in weights.items()}
    missing = sorted(expected.keys() - cast.keys())
    unexpected = sorted(cast.keys() - model.state_dict().keys())
    misfits = [n for n in expected if n in cast and cast[n].shape != expected[n].shape]
    for problem, names in (("lack", missing), ("also hold", unexpected), ("misshape", misfits)):
        if names:
            raise ModelError(f"the weights {problem} {names[0]} and {len(names) - 1} more")
    if broken := next((name for name, value in cast.items() if not_finite(value)), None):
        raise ModelError(f"the weights hold values that are no numbers (NaN), first in {broken}")
    model.load_state_dict(cast, strict=True, assign=True)
    _materialise(model)
    model.eval().requires_grad_(False)


def set_dtype(model: Any, dtype: torch.dtype) -> None:
    """Cast `model`, except norms and modulation, which stay float32."""
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(_dtype_of(model, name, dtype))


def _dtype_of(model: Any, name: str, dtype: torch.dtype) -> torch.dtype:
    keep_float32 = model._keep_in_fp32_modules or ()
    return torch.float32 if any(part in name for part in keep_float32) else dtype


def _materialise(model: nn.Module) -> None:
    """Replace the buffers that no checkpoint holds, and that this pipeline never reads."""
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                setattr(module, name, torch.zeros(0))
