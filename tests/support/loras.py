"""Write small LoRAs in the formats of real ones: PEFT and kohya."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

RANK = 4
UNET_QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
UNET_KEY = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
# Kohya LoRAs are recognised by their output projections, which real ones always have.
TEXT_OUT = "encoder.layers.0.self_attn.out_proj"
TEXT_MLP = "encoder.layers.1.mlp.fc1"

Pair = tuple[torch.Tensor, torch.Tensor]


def pair(shape: torch.Size | tuple[int, ...], seed: int = 0) -> Pair:
    """Return A ``(RANK, in)`` and B ``(out, RANK)`` for a weight ``(out, in)``."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(RANK, shape[1], generator=generator)
    return a, torch.randn(shape[0], RANK, generator=generator)


def save_peft(
    file: Path,
    unet: dict[str, Pair],
    text: dict[str, Pair] | None = None,
    *,
    alpha: float | None = None,
) -> Path:
    """Write a LoRA as diffusers and PEFT do; its scale is 1, or alpha / RANK from the header."""
    weights = {}
    for prefix, pairs in (("unet.", unet), ("text_encoder.text_model.", text or {})):
        for layer, (a, b) in pairs.items():
            weights[f"{prefix}{layer}.lora_A.weight"] = a
            weights[f"{prefix}{layer}.lora_B.weight"] = b
    settings = {"unet.r": RANK, "unet.lora_alpha": alpha, "unet.target_modules": [*unet]}
    header = {"format": "pt", "lora_adapter_metadata": json.dumps(settings)}
    save_file(weights, file, metadata=header if alpha else None)
    return file


def save_kohya(
    file: Path,
    unet: dict[str, Pair],
    text: dict[str, Pair] | None = None,
    *,
    alpha: float | dict[str, float],
) -> Path:
    """Write a LoRA as the kohya scripts do; its scale is alpha / RANK, layer by layer."""
    weights = {}
    for prefix, pairs in (("lora_unet_", unet), ("lora_te_text_model_", text or {})):
        for layer, (a, b) in pairs.items():
            name = prefix + layer.replace(".", "_")
            weights[f"{name}.lora_down.weight"] = a
            weights[f"{name}.lora_up.weight"] = b
            layer_alpha = alpha[layer] if isinstance(alpha, dict) else alpha
            weights[f"{name}.alpha"] = torch.tensor(layer_alpha)
    save_file(weights, file)
    return file
