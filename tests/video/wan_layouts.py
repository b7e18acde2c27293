"""Tiny video models on disk, laid out like the real ones."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from streamcam.video.random_wan import random_transformer, random_vae

WORDS = ["<pad>", "</s>", "<unk>", "a", "cat", "dog", "in", "the", "rain"]


def save_base(path: Path) -> Path:
    """Write text encoder, tokenizer and autoencoder in diffusers layout."""
    cpu = torch.device("cpu")
    torch.manual_seed(0)
    shape = {"d_model": 32, "d_kv": 8, "num_heads": 4, "num_layers": 2, "d_ff": 64}
    config = UMT5Config(vocab_size=len(WORDS), **shape)
    UMT5EncoderModel(config).save_pretrained(path / "text_encoder")
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(path / "tokenizer")
    random_vae("tiny", torch.float32, cpu).save_pretrained(path / "vae")
    parts = {"text_encoder": "UMT5EncoderModel", "tokenizer": "T5TokenizerFast"}
    index = {name: ["transformers", kind] for name, kind in parts.items()}
    index["vae"] = ["diffusers", "AutoencoderKLWan"]
    write_index(path, index)
    return path


def save_pipeline(path: Path) -> Path:
    """Write a whole model in diffusers layout."""
    save_base(path)
    model = random_transformer("tiny-wan", torch.float32, torch.device("cpu"))
    model.save_pretrained(path / "transformer")
    index = json.loads((path / "model_index.json").read_text())
    write_index(path, index | {"transformer": ["diffusers", "WanTransformer3DModel"]})
    return path


def write_index(path: Path, parts: dict[str, list[str]]) -> None:
    index = {"_class_name": "WanPipeline", "_diffusers_version": "0.42.0"} | parts
    (path / "model_index.json").write_text(json.dumps(index))


PUBLISHED = """
    patch_embedding text_embedding.0 text_embedding.2 time_embedding.0 time_embedding.2
    time_projection.1 head.head
"""
IN_A_BLOCK = """
    self_attn.q self_attn.k self_attn.v self_attn.o cross_attn.q cross_attn.k cross_attn.v
    cross_attn.o norm3 ffn.0 ffn.2
"""


def published_weights(layers: int, dim: int = 256, ffn: int = 64) -> dict[str, torch.Tensor]:
    """Return weights with the names and in the proportions of the published files."""
    wide = {
        "patch_embedding": (dim, 16, 1, 2, 2),
        "text_embedding.0": (dim, 32),
        "time_embedding.0": (dim, 32),
        "time_projection.1": (6 * dim, dim),
        "head.head": (64, dim),
        "ffn.0": (ffn, dim),
        "ffn.2": (dim, ffn),
        "norm3": (dim,),
    }
    names = PUBLISHED.split()
    names += [f"blocks.{i}.{name}" for i in range(layers) for name in IN_A_BLOCK.split()]
    weights = {"head.modulation": torch.randn(1, 2, dim)}
    for name in names:
        kind = name.split(".", 2)[-1] if name.startswith("blocks") else name
        shape = wide.get(kind, (dim, dim))
        weights |= {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[0])}
    for i in range(layers):
        weights[f"blocks.{i}.modulation"] = torch.randn(1, 6, dim)
        for attention in ("self_attn", "cross_attn"):
            for norm in ("norm_q", "norm_k"):
                weights[f"blocks.{i}.{attention}.{norm}.weight"] = torch.randn(dim)
    return weights
