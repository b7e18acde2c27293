"""Published weights as diffusers' own models: names converted, shapes read off the tensors."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from streamcam.errors import ModelError

HEAD_DIM = 128
"""Of every published Wan transformer."""

WRAPPERS = ("generator_ema", "generator", "state_dict", "model")
"""Names under which training code files the weights away, the ones to prefer first."""
PREFIXES = ("model.diffusion_model.", "model.")


def unwrap(stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights in `stored`, out of what training code wraps around them."""
    inner = next((stored[name] for name in WRAPPERS if isinstance(stored.get(name), Mapping)), None)
    if inner is not None:
        return unwrap(inner)
    weights = {name: value for name, value in stored.items() if isinstance(value, Tensor)}
    for prefix in PREFIXES:
        if weights and all(name.startswith(prefix) for name in weights):
            return {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def wan_config(weights: Mapping[str, Tensor], *, head_dim: int = HEAD_DIM) -> dict[str, Any]:
    """Return the config of the transformer whose weights, by their published names, these are.

    Raises:
        ModelError: they are not those of a text-to-video Wan transformer.
    """
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
    layers = {int(found[1]) for name in weights if (found := re.match(r"blocks\.(\d+)\.", name))}
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
    """Return the weights of these layers, counted anew, and of all that is beside the layers.

    Of a mapped file no others are ever read.
    """
    kept = {}
    for name in weights:
        found = re.match(r"blocks\.(\d+)\.(.*)", name)
        if not found:
            kept[name] = weights[name]
        elif int(found[1]) in layers:
            kept[f"blocks.{layers.index(int(found[1]))}.{found[2]}"] = weights[name]
    return kept


def load_wan_transformer(
    weights: Mapping[str, Tensor], dtype: torch.dtype, *, head_dim: int = HEAD_DIM
) -> Any:
    """Return diffusers' transformer with these weights, by their published names.

    Raises:
        ModelError: they are those of something else, or incomplete.
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
        ModelError: they are those of something else, or incomplete.
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
    """Give `model`, made on the meta device, its weights; norms and modulation stay float32.

    Raises:
        ModelError: some are missing, of another shape, or belong to something else.
    """
    expected = dict(model.named_parameters())
    cast = {name: value.to(_dtype_of(model, name, dtype)) for name, value in weights.items()}
    missing = sorted(expected.keys() - cast.keys())
    others = sorted(cast.keys() - model.state_dict().keys())
    misfits = [n for n in expected if n in cast and cast[n].shape != expected[n].shape]
    for what, names in (("lack", missing), ("also hold", others), ("misshape", misfits)):
        if names:
            raise ModelError(f"the weights {what} {names[0]} and {len(names) - 1} more")
    model.load_state_dict(cast, strict=True, assign=True)
    _materialise(model)
    model.eval().requires_grad_(False)


def set_dtype(model: Any, dtype: torch.dtype) -> None:
    """Cast `model`, but for norms and modulation, which stay float32."""
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(_dtype_of(model, name, dtype))


def _dtype_of(model: Any, name: str, dtype: torch.dtype) -> torch.dtype:
    wide = model._keep_in_fp32_modules or ()
    return torch.float32 if any(part in name for part in wide) else dtype


def _materialise(model: nn.Module) -> None:
    """Make the buffers that no checkpoint holds, and that this pipeline never reads."""
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                setattr(module, name, torch.zeros(0))
