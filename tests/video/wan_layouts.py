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
