"""Video models with random weights in real shapes, to measure speed without a download.

``random:wan-1.3b`` and ``random:wan-14b`` have the true shapes, ``random:tiny-wan`` is small enough
for any CPU. Their output means nothing.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from streamcam.errors import ModelError, suggest
from streamcam.video.taehv import TAEHV
from streamcam.video.wan_weights import set_dtype

TEXT_TOKENS = 512

SHAPES: dict[str, dict[str, Any]] = {
    "wan-1.3b": {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
    "wan-14b": {"num_attention_heads": 40, "ffn_dim": 13824, "num_layers": 40},
    "tiny-wan": {
        "num_attention_heads": 2,
        "attention_head_dim": 24,
        "ffn_dim": 96,
        "num_layers": 3,
        "text_dim": 32,
        "freq_dim": 32,
    },
}
TINY_VAE = {"base_dim": 8, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}


def layers_of(name: str) -> int:
    """Return the number of layers of the transformer of that name.

    Raises:
        ModelError: there is none of that name.
    """
    if name not in SHAPES:
        raise ModelError(f'no random video model "{name}": {suggest(name, SHAPES)}')
    return int(SHAPES[name]["num_layers"])


def random_transformer(
    name: str, dtype: torch.dtype, device: torch.device, *, layers: range | None = None
) -> Any:
    """Return a transformer of that name, or some of its layers; each layer has its own seed.

    Raises:
        ModelError: there is none of that name.
    """
    from diffusers import WanTransformer3DModel

    layers = layers or range(layers_of(name))
    shape = SHAPES[name]
    with _seeded(0, device):
        model = WanTransformer3DModel(**shape | {"num_layers": 0})
        set_dtype(model, dtype)
        for layer in layers:
            torch.manual_seed(1 + layer)
            single = WanTransformer3DModel(**shape | {"num_layers": 1})
            set_dtype(single, dtype)
            model.blocks.append(single.blocks[0])
    model.register_to_config(num_layers=len(layers))
    return model.eval().requires_grad_(False)


def random_vae(name: str, dtype: torch.dtype, device: torch.device) -> Any:
    """Return a Wan autoencoder, a small one for a small model."""
    from diffusers import AutoencoderKLWan

    with _seeded(2, device):
        vae = AutoencoderKLWan(**TINY_VAE if name.startswith("tiny") else {})
        vae.eval().requires_grad_(False)
        _scale_contrast(vae.decoder.conv_out, vae.decode(torch.randn(1, 16, 1, 8, 8)).sample)
    set_dtype(vae, dtype)
    return vae


def random_taehv(dtype: torch.dtype, device: torch.device) -> TAEHV:
    """Return TAEHV with random weights."""
    with _seeded(3, device):
        model = TAEHV()
    return model.to(dtype).eval().requires_grad_(False)


def random_text(text: str, dims: int, device: torch.device) -> Tensor:
    """Return ``(1, 512, dims)`` noise seeded by `text`, zero past it."""
    generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
    embeds = torch.zeros(1, TEXT_TOKENS, dims)
    tokens = min(TEXT_TOKENS, len(text.split()) + 1)
    embeds[:, :tokens] = torch.randn(1, tokens, dims, generator=generator)
    return embeds.to(device)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed what the body draws on `device`, and restore the random state afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(seed)
        yield


def _scale_contrast(last: nn.Conv3d, images: Tensor) -> None:
    """Scale the last layer so that images have some contrast."""
    gain = 0.5 / images.std()
    last.weight *= gain
    assert last.bias is not None
    last.bias.zero_()
