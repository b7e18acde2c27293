"""A model whose U-Net is one level, with attention down and without it up, and no middle.

All that changes on air reaches it as it does a deeper one, and it compiles in a third of the time.
"""

from collections.abc import Mapping
from typing import Any

import torch

from streamcam.diffusion.image_model import ImageModel, from_pipeline
from streamcam.engines.dtypes import dtype_of
from streamcam.models.random_models import random_pipeline, random_tiny_vae
from streamcam.settings.config_layers import build_config


def one_level_model(name: str, *layers: Mapping[str, Any]) -> ImageModel:
    """Return a one-level variant of the random model `name`, loaded with these settings."""
    config = build_config(layers)
    pipe = random_pipeline(name)
    level = {
        "block_out_channels": (16,),
        "down_block_types": ("CrossAttnDownBlock2D",),
        "mid_block_type": None,
        "up_block_types": ("UpBlock2D",),
        "attention_head_dim": 2,
    }
    torch.manual_seed(0)
    pipe.unet = type(pipe.unet).from_config(pipe.unet.config, **level)
    pipe.vae = random_tiny_vae(width=8)
    pipe.to(dtype_of(config.dtype))
    return from_pipeline(pipe, config, torch.device("cpu"))
