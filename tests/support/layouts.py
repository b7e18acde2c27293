"""Write tiny random checkpoints in the layouts of real ones."""

import json
from pathlib import Path
from typing import Any

from streamcam.models.random_models import random_pipeline, random_tiny_vae


def save_pipeline(name: str, path: Path) -> Path:
    """Write ``tiny-NAME`` in diffusers layout: configs, safetensors, vocab.json and merges.txt."""
    pipe = random_pipeline(f"tiny-{name}")
    pipe.save_pretrained(path, safe_serialization=True)
    for tokenizer in path.glob("tokenizer*"):
        saved = tokenizer / "tokenizer.json"
        vocabulary = json.loads(saved.read_text())["model"]["vocab"]
        (tokenizer / "vocab.json").write_text(json.dumps(vocabulary))
        (tokenizer / "merges.txt").write_text("#version: 0.2\n")
        saved.unlink()
    return path


def save_tiny_vae(path: Path) -> Path:
    """Write a tiny autoencoder in TAESD's layout."""
    random_tiny_vae(width=8).save_pretrained(path, safe_serialization=True)
    return path


def edit_json(path: Path, **changes: Any) -> None:
    """Change values in a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def truncate(path: Path, share: float = 0.5) -> Path:
    """Truncate a file, as an interrupted copy does."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path
