"""Write tiny random IP-Adapters and image encoders in the layout of the published ones."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from streamcam.models.ip_adapter import cross_attentions

FILES = {"plain": "ip-adapter", "plus": "ip-adapter-plus", "full-face": "ip-adapter-full-face"}
IMAGE, PATCH, HIDDEN, EMBED, TOKENS = 32, 8, 32, 24, 4


def save_image_encoder(path: Path, *, hidden: int = HIDDEN, embed: int = EMBED) -> Path:
    """Write a vision transformer, `hidden` wide, of embeddings `embed` wide."""
    import transformers

    config = transformers.CLIPVisionConfig(
        hidden_size=hidden,
        projection_dim=embed,
        intermediate_size=2 * hidden,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=IMAGE,
        patch_size=PATCH,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(hidden)
        transformers.CLIPVisionModelWithProjection(config).save_pretrained(path)
    return path


def save_ip_adapter(folder: Path, unet: Any, kind: str) -> Path:
    """Write an adapter of that kind for `unet` in ``models``, with its encoder beside it."""
    models = folder / "models"
    file = models / f"{FILES[kind]}_tiny.safetensors"
    if not (models / "image_encoder").exists():
        save_image_encoder(models / "image_encoder")
    generator = torch.Generator().manual_seed(len(kind))

    def weight(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator)
        return drawn / shape[-1] ** 0.5 if len(shape) > 1 else drawn

    width = unet.config.cross_attention_dim
    tensors = {f"image_proj.{k}": v for k, v in PROJECTIONS[kind](weight, width).items()}
    for number, layer in enumerate(cross_attentions(unet)):
        for part in ("to_k_ip", "to_v_ip"):
            # Strong, so that a wrong order is seen.
            tensors[f"ip_adapter.{2 * number + 1}.{part}.weight"] = 2 * weight(layer.width, width)
    save_file(tensors, file)
    return file


def _plain(weight: Any, width: int) -> dict[str, Tensor]:
    return {
        "proj.weight": weight(TOKENS * width, EMBED),
        "proj.bias": weight(TOKENS * width),
        "norm.weight": weight(width),
        "norm.bias": weight(width),
    }


def _plus(weight: Any, width: int) -> dict[str, Tensor]:
    inner, heads_width = 16, 64
    tensors = {
        "latents": weight(1, TOKENS, inner),
        "proj_in.weight": weight(inner, HIDDEN),
        "proj_in.bias": weight(inner),
        "proj_out.weight": weight(width, inner),
        "proj_out.bias": weight(width),
        "norm_out.weight": weight(width),
        "norm_out.bias": weight(width),
    }
    for i in range(4):
        attention, forward = f"layers.{i}.0", f"layers.{i}.1"
        for norm in (f"{attention}.norm1", f"{attention}.norm2", f"{forward}.0"):
            tensors |= {f"{norm}.weight": weight(inner), f"{norm}.bias": weight(inner)}
        tensors |= {
            f"{attention}.to_q.weight": weight(heads_width, inner),
            f"{attention}.to_kv.weight": weight(2 * heads_width, inner),
            f"{attention}.to_out.weight": weight(inner, heads_width),
            f"{forward}.1.weight": weight(4 * inner, inner),
            f"{forward}.3.weight": weight(inner, 4 * inner),
        }
    return tensors


def _full_face(weight: Any, width: int) -> dict[str, Tensor]:
    return {
        "proj.0.weight": weight(HIDDEN, HIDDEN),
        "proj.0.bias": weight(HIDDEN),
        "proj.2.weight": weight(width, HIDDEN),
        "proj.2.bias": weight(width),
        "proj.3.weight": weight(width),
        "proj.3.bias": weight(width),
    }


PROJECTIONS = {"plain": _plain, "plus": _plus, "full-face": _full_face}
