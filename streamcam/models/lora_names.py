"""Names that LoRA trainers give to the layers of a model."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

TEXT_ENCODERS = ("text_encoder", "text_encoder_2")
CLIPS = {"sd-1": ("clip_l",), "sd-2": ("clip_h",), "sdxl": ("clip_l", "clip_g")}
"""ComfyUI's names of the text encoders, by family."""

TEXT_PREFIX = re.compile(r"^(?:lora_te(?P<kohya>\d?)_|text_encoder(?P<peft>_2)?\.|text_encoders\.)")


OLD_ATTENTION = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}
"""Names that the first LoRAs of diffusers had for layers of the text encoder's attention."""


class Layer(NamedTuple):
    """A layer of a model that a LoRA can change."""

    part: str
    """``unet``, ``text_encoder`` or ``text_encoder_2``; ``transformer`` of a video model."""
    path: str
    """Path of the module within its part."""
    module: nn.Module | None
    """None where another process has it."""


def part_of(name: str) -> str:
    """Return the part of a model that a trainer's name of a layer belongs to."""
    if found := TEXT_PREFIX.match(name):
        second = found["kohya"] == "2" or found["peft"] or name.startswith("text_encoders.clip_g.")
        return TEXT_ENCODERS[1 if second else 0]
    return "unet"


def layer_names(pipe: Any, family: str) -> dict[str, Layer]:
    """Return every layer of `pipe` by each name that a trainer may give it."""
    names: dict[str, Layer] = {}
    for path, module in _layers_of(pipe.unet):
        layer = Layer("unet", path, module)
        names |= dict.fromkeys(_unet_names(path, pipe.unet.config.layers_per_block), layer)
    encoders = [part for part in TEXT_ENCODERS if getattr(pipe, part, None) is not None]
    for index, (part, clip) in enumerate(zip(encoders, CLIPS[family], strict=False)):
        tags = [f"te{index + 1}"] if len(encoders) > 1 else ["te", "te1"]
        for path, module in _layers_of(getattr(pipe, part)):
            layer = Layer(part, path, module)
            names |= dict.fromkeys(_text_names(path, part, tags, clip), layer)
    return names


def _layers_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for path, module in model.named_modules():
        if isinstance(getattr(module, "weight", None), nn.Parameter):
            yield path, module


def _unet_names(path: str, layers_per_block: Any) -> Iterator[str]:
    original = set(_original_paths(path, layers_per_block))
    for spelled in {path, path.removesuffix(".0") if path.endswith(".to_out.0") else path}:
        yield from (spelled, f"unet.{spelled}", f"diffusion_model.{spelled}")
    for spelled in {path} | original:
        yield f"lora_unet_{_joined(spelled)}"
        yield f"lycoris_{_joined(spelled)}"
    for spelled in original:
        yield f"diffusion_model.{spelled}"
        yield f"model.diffusion_model.{spelled}"


def _text_names(path: str, part: str, tags: list[str], clip: str) -> Iterator[str]:
    # Whether paths begin with this prefix changes with the library's version.
    short = path.removeprefix("text_model.")
    long = short if short == "text_projection" else f"text_model.{short}"
    for spelled in {short, long}:
        yield f"{part}.{spelled}"
        head, _, last = spelled.rpartition(".")
        if last in OLD_ATTENTION:
            yield f"{part}.{head}.{OLD_ATTENTION[last]}"
        yield f"text_encoders.{clip}.transformer.{spelled}"
        yield from (f"lora_{tag}_{_joined(spelled)}" for tag in tags)


def _joined(path: str) -> str:
    return path.replace(".", "_")


RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
IN_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.+)")
SAMPLER = re.compile(r"(down|up)_blocks\.(\d+)\.(?:down|up)samplers\.0\.conv")
IN_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def _original_paths(path: str, layers_per_block: Any) -> Iterator[str]:
    """Yield the paths that a layer may have in the U-Net as it was first published."""
    if path in OUTSIDE_BLOCKS:
        yield OUTSIDE_BLOCKS[path]
    if not isinstance(layers_per_block, int):
        return
    per_block = layers_per_block + 1
    if found := IN_MIDDLE.fullmatch(path):
        kind, index, rest = found.groups()
        place = 1 if kind == "attentions" else 2 * int(index)
        yield f"middle_block.{place}.{RESNET.get(rest, rest)}"
    if found := SAMPLER.fullmatch(path):
        last = (int(found[2]) + 1) * per_block
        if found[1] == "down":
            yield f"input_blocks.{last}.0.op"
        else:  # After the attention, where the block has any.
            yield from (f"output_blocks.{last - 1}.{place}.conv" for place in (1, 2))
    if found := IN_BLOCK.fullmatch(path):
        way, block, kind, index, rest = found.groups()
        place = int(block) * per_block + int(index) + (way == "down")
        blocks = "input_blocks" if way == "down" else "output_blocks"
        yield f"{blocks}.{place}.{int(kind == 'attentions')}.{RESNET.get(rest, rest)}"
