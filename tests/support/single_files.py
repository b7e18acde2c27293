"""Write checkpoints as single files, with the weight names of the original releases."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]


def save_single_file(folder: Path, file: Path) -> Path:
    """Write a pipeline in diffusers layout as one file in the original layout."""
    linear = json.loads((folder / "unet/config.json").read_text())["use_linear_projection"]
    xl = (folder / "text_encoder_2").exists()
    one, two = (_weights(folder / part) for part in ("text_encoder", "text_encoder_2"))
    if xl:
        texts = _prefixed("conditioner.embedders.0.transformer.text_model.", one)
        texts |= _prefixed("conditioner.embedders.1.model.", _open_clip(two))
    elif linear:
        texts = _prefixed("cond_stage_model.model.", _open_clip(one))
    else:
        texts = _prefixed("cond_stage_model.transformer.text_model.", one)
    save_file(
        _prefixed("model.diffusion_model.", _original_unet(_weights(folder / "unet")))
        | _prefixed("first_stage_model.", _original_vae(_weights(folder / "vae")))
        | texts,
        file,
    )
    return file


def _weights(folder: Path) -> Weights:
    weights: Weights = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    return {name.removeprefix("text_model."): weight for name, weight in weights.items()}


def _prefixed(prefix: str, weights: Weights) -> Weights:
    return {f"{prefix}{name}": weight.contiguous() for name, weight in weights.items()}


def _renamed(weights: Weights, rules: list[tuple[str, Any]]) -> Weights:
    renamed: Weights = {}
    for name, weight in weights.items():
        new = name
        for pattern, replacement in rules:
            new = re.sub(pattern, replacement, new)
        renamed[new] = weight
    return renamed


def original_unet_names(names: Iterable[str]) -> dict[str, str]:
    """Return the original names of weights of a U-Net with one residual layer per block."""
    renamed = _original_unet({name: torch.empty(0) for name in names})
    return dict(zip(names, renamed, strict=True))


def _original_unet(weights: Weights) -> Weights:
    """Rename the weights of a U-Net with one residual layer per block to the original names."""

    def up(match: re.Match[str]) -> str:
        block, kind, layer = int(match[1]), match[2], int(match[3])
        attends = f"up_blocks.{block}.attentions.0.norm.weight" in weights
        place = {"resnets": 0, "attentions": 1, "upsamplers": 1 + attends}[kind]
        return f"output_blocks.{2 * block + (1 if kind == 'upsamplers' else layer)}.{place}."

    def down(match: re.Match[str]) -> str:
        block, kind = int(match[1]), match[2]
        place = {"resnets": "0", "attentions": "1", "downsamplers": "0.op"}[kind]
        return f"input_blocks.{2 * block + (2 if kind == 'downsamplers' else 1)}.{place}."

    return _renamed(
        weights,
        [
            (r"^time_embedding\.linear_1", "time_embed.0"),
            (r"^time_embedding\.linear_2", "time_embed.2"),
            (r"^add_embedding\.linear_1", "label_emb.0.0"),
            (r"^add_embedding\.linear_2", "label_emb.0.2"),
            (r"^conv_in", "input_blocks.0.0"),
            (r"^conv_norm_out", "out.0"),
            (r"^conv_out", "out.2"),
            (r"^mid_block\.resnets\.0", "middle_block.0"),
            (r"^mid_block\.attentions\.0", "middle_block.1"),
            (r"^mid_block\.resnets\.1", "middle_block.2"),
            (r"^up_blocks\.(\d+)\.(resnets|attentions|upsamplers)\.(\d+)\.", up),
            (r"^down_blocks\.(\d+)\.(resnets|attentions|downsamplers)\.0\.", down),
            (r"\.op\.conv\.", ".op."),
            (r"\.norm1\.(?=weight|bias)(?<!blocks\.0\.norm1\.)", ".in_layers.0."),
            (r"\.conv1\.", ".in_layers.2."),
            (r"\.norm2\.(?=weight|bias)(?<!blocks\.0\.norm2\.)", ".out_layers.0."),
            (r"\.conv2\.", ".out_layers.3."),
            (r"\.time_emb_proj\.", ".emb_layers.1."),
            (r"\.conv_shortcut\.", ".skip_connection."),
        ],
    )


def _original_vae(weights: Weights) -> Weights:
    """Rename the weights of a full autoencoder of four levels to the original names."""
    renamed = _renamed(
        weights,
        [
            (r"\.conv_norm_out\.", ".norm_out."),
            (r"\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r".down.\1.block.\2."),
            (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
            (
                r"\.up_blocks\.(\d+)\.resnets\.(\d+)\.",
                lambda m: f".up.{3 - int(m[1])}.block.{m[2]}.",
            ),
            (
                r"\.up_blocks\.(\d+)\.upsamplers\.0\.",
                lambda m: f".up.{3 - int(m[1])}.upsample.",
            ),
            (r"\.mid_block\.resnets\.(\d)", lambda m: f".mid.block_{int(m[1]) + 1}"),
            (r"\.mid_block\.attentions\.0\.group_norm", ".mid.attn_1.norm"),
            (r"\.mid_block\.attentions\.0\.to_(q|k|v)\.", r".mid.attn_1.\1."),
            (r"\.mid_block\.attentions\.0\.to_out\.0", ".mid.attn_1.proj_out"),
            (r"\.conv_shortcut\.", ".nin_shortcut."),
        ],
    )
    # The original attention layers are 1x1 convolutions.
    return {
        name: weight[:, :, None, None] if ".attn_1." in name and weight.dim() == 2 else weight
        for name, weight in renamed.items()
    }


def _open_clip(weights: Weights) -> Weights:
    """Rename a text encoder's weights to those of OpenCLIP, which joins q, k and v."""
    joined = dict(weights)
    for name in [n for n in weights if ".q_proj." in n]:
        parts = [
            joined.pop(name.replace("q_proj", part)) for part in ("q_proj", "k_proj", "v_proj")
        ]
        joined[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    if "text_projection.weight" in joined:
        joined["text_projection"] = joined.pop("text_projection.weight").T
    return _renamed(
        joined,
        [
            (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
            (r"^embeddings\.token_embedding", "token_embedding"),
            (r"^final_layer_norm", "ln_final"),
            (r"^encoder\.layers\.", "transformer.resblocks."),
            (r"\.layer_norm(\d)\.", r".ln_\1."),
            (r"\.fc1\.", ".c_fc."),
            (r"\.fc2\.", ".c_proj."),
            (r"\.self_attn\.", ".attn."),
        ],
    )
