"""Random LoRAs beside the weights of a U-Net, to measure what live scales cost."""

from typing import Any

import torch
from torch import nn

from streamcam.bench.harness import with_shared_weights
from streamcam.models.lora_layers import LoraScales, lora_layers, with_branches
from streamcam.models.lora_updates import Change


def with_random_loras(pipe: Any, *, count: int, rank: int) -> Any:
    """Return `pipe` with `count` LoRAs in every linear layer of its U-Net's attention blocks.

    These are the layers that trainers choose by default. Its base weights are those of `pipe`.
    """
    changed = with_shared_weights(pipe)
    scales = LoraScales([1.0] * count)
    linear = [
        (path, layer)
        for path, layer in changed.unet.named_modules()
        if isinstance(layer, nn.Linear) and ".transformer_blocks." in path
    ]
    for path, layer in linear:
        changes = {lora: _random_change(layer, rank) for lora in range(count)}
        changed.unet.set_submodule(path, with_branches(layer, changes, scales))
    return changed


def _random_change(layer: nn.Linear, rank: int) -> Change:
    down = torch.randn(rank, layer.in_features).to(layer.weight) / layer.in_features**0.5
    up = torch.randn(layer.out_features, rank).to(layer.weight) / 100
    return Change(down, up)


def lora_bytes(unet: nn.Module) -> int:
    """Return the memory that the LoRAs of `unet` take."""
    return sum(each.nbytes for layer in lora_layers(unet) for each in layer.buffers(recurse=False))
