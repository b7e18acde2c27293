"""Fuse LoRAs into a Wan transformer, or into the layers of it that are here."""

import re
from collections.abc import Iterator
from typing import Any

from torch import nn

from streamcam.models import model_files
from streamcam.models.families import Report
from streamcam.models.lora import fuse
from streamcam.models.lora_names import Layer
from streamcam.settings.config import Config

PART, FAMILY = "transformer", "Wan"
PREFIXES = ("", "transformer.", "diffusion_model.", "model.diffusion_model.")
JOINED_PREFIXES = ("lora_unet_", "lora_unet__", "lycoris_")
MODULATION = "scale_shift_table"
BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
PUBLISHED = {
    "attn1.to_q": "self_attn.q",
    "attn1.to_k": "self_attn.k",
    "attn1.to_v": "self_attn.v",
    "attn1.to_out.0": "self_attn.o",
    "attn1.norm_q": "self_attn.norm_q",
    "attn1.norm_k": "self_attn.norm_k",
    "attn2.to_q": "cross_attn.q",
    "attn2.to_k": "cross_attn.k",
    "attn2.to_v": "cross_attn.v",
    "attn2.to_out.0": "cross_attn.o",
    "attn2.norm_q": "cross_attn.norm_q",
    "attn2.norm_k": "cross_attn.norm_k",
    "norm2": "norm3",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "proj_out": "head.head",
    "scale_shift_table": "modulation",
}
"""Published names of layers, by those of diffusers."""


def fuse_loras(transformer: Any, layers: range, count: int, config: Config, report: Report) -> None:
    """Fuse the LoRAs that `config` names.

    Args:
        transformer: a `WanTransformer3DModel` with some of its layers, numbered from 0.
        layers: the numbers that these have in the whole model.
        count: the layers of the whole model.
        config: names the LoRAs.
        report: takes a line at a time.

    Raises:
        ModelError: one is missing or damaged, or made for another base model.
    """
    names = layer_names(transformer, layers, count)
    for name, scale in config.lora.items():
        report(f"LoRA {name}, scale {scale:g}")
        file = model_files.lora_file(name, offline=config.offline, pickled=True)
        fuse(names, file, scale, FAMILY, report)


def layer_names(transformer: Any, layers: range, count: int) -> dict[str, Layer]:
    """Return every layer by each name that a trainer may give it; those elsewhere have no module.

    All layers of such a transformer are alike, so the first one here says what those elsewhere
    hold.
    """
    names: dict[str, Layer] = {}
    for path, module in _layers_of(transformer):
        block = BLOCK.fullmatch(path)
        if block is None:
            names |= _names(path, module)
            continue
        index, within = int(block[1]), block[2]
        names |= _names(f"blocks.{layers[index]}.{within}", module)
        if index == 0:
            for elsewhere in set(range(count)) - set(layers):
                names |= _names(f"blocks.{elsewhere}.{within}", None)
    return names


def _layers_of(transformer: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the path and the module of everything that has weights, modulation tables included."""
    for path, module in transformer.named_modules():
        if isinstance(getattr(module, "weight", None), nn.Parameter):
            yield path, module
        if isinstance(table := getattr(module, MODULATION, None), nn.Parameter):
            stand_in = nn.Module()
            stand_in.weight = table
            yield f"{path}.{MODULATION}" if path else MODULATION, stand_in


def _names(path: str, module: nn.Module | None) -> dict[str, Layer]:
    return dict.fromkeys(_spellings(path), Layer(PART, path, module))


def _spellings(path: str) -> Iterator[str]:
    block = BLOCK.fullmatch(path)
    published = (
        f"blocks.{block[1]}.{PUBLISHED.get(block[2], block[2])}"
        if block
        else PUBLISHED.get(path, path)
    )
    if path == MODULATION:
        published = "head.modulation"
    for spelled in {path, published}:
        yield from (f"{prefix}{spelled}" for prefix in PREFIXES)
        yield from (f"{prefix}{spelled.replace('.', '_')}" for prefix in JOINED_PREFIXES)
