"""From what the user names to the parts of a video model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from streamcam.config import Config
from streamcam.diffusion.family import RANDOM, Say
from streamcam.video.random_models import (
    random_taehv,
    random_text,
    random_transformer,
    random_vae,
)
from streamcam.video.taehv import TAEHV


class Parts(NamedTuple):
    """What a model is made of, on its device."""

    transformer: Any
    """A `WanTransformer3DModel`."""
    vae: Any
    """An `AutoencoderKLWan`."""
    taehv: TAEHV | None
    """Where it encodes or decodes."""
    encode_text: Callable[[str], Tensor]
    """To ``(1, L, text_dim)``, zero past the text."""


def load_parts(config: Config, dtype: torch.dtype, device: torch.device, say: Say) -> Parts:
    """Return the parts of the model that `config` names.

    Raises:
        ModelError: something is missing, damaged or does not fit.
    """
    if config.model.startswith(RANDOM):
        return _random(config, dtype, device, say)
    raise NotImplementedError


def _random(config: Config, dtype: torch.dtype, device: torch.device, say: Say) -> Parts:
    name = config.model.removeprefix(RANDOM)
    transformer = random_transformer(name, dtype, device)
    text_dim = transformer.config.text_dim
    say(f"model {config.model}: random weights, the pictures mean nothing")
    return Parts(
        transformer,
        random_vae(name, dtype, device),
        random_taehv(dtype, device) if _tiny(config) else None,
        lambda text: random_text(text, text_dim, device),
    )


def _tiny(config: Config) -> bool:
    return "taehv" in (config.video.video_encoder, config.video.video_decoder)
