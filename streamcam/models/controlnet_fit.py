"""Check that a ControlNet or a T2I-Adapter was made for the model that it is given with."""

from typing import Any

from streamcam.errors import ModelError
from streamcam.settings.config import Config

FAMILY_WIDTHS = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}
"""Families by the width of the text embeddings that their models read."""
SAME = ("cross_attention_dim", "block_out_channels", "layers_per_block", "addition_embed_type")
"""Settings that a ControlNet must have in common with the U-Net that it steers."""
XL_ADAPTER = "full_adapter_xl"
ADAPTER_CHANNELS = (1, 3)
"""Of the images that T2I-Adapters are shown: those for edges take grey ones."""


def check_fits(item: str, module: Any, unet: Any, config: Config, *, is_adapter: bool) -> None:
    """Raise ModelError unless a ControlNet or a T2I-Adapter fits the U-Net.

    Args:
        item: its path or id.
        module: the loaded module.
        unet: the U-Net.
        config: the size of the images.
        is_adapter: whether it is a T2I-Adapter.
    """
    own, base = module.config, unet.config
    if is_adapter:
        channels = list(dict.fromkeys(own.channels))
        is_xl, step = own.adapter_type == XL_ADAPTER, own.downscale_factor
        if channels != list(dict.fromkeys(base.block_out_channels)) or is_xl != takes_xl_adapters(
            unet
        ):
            kind = "SDXL" if is_xl else "SD 1.x and 2.x"
            raise ModelError(
                f"{item} is a T2I-Adapter for {kind} of {channels} channels, and the model is"
                f" {_family(unet)}; choose one that was made for it"
            )
        if own.in_channels not in ADAPTER_CHANNELS:
            raise ModelError(
                f"{item} is shown {own.in_channels} channels, not an image; choose one that is"
                " shown an image"
            )
        if config.width % step or config.height % step:
            raise ModelError(f"{item} needs a width and height that are multiples of {step}")
        return
    if own.conditioning_channels != 3:
        raise ModelError(
            f"{item} is shown {own.conditioning_channels} channels, not an image; choose one that"
            " is shown an image"
        )
    if own.global_pool_conditions:
        raise ModelError(f"{item} shuffles an image's content, which does not run as a stream")
    if any(_plain(own[key]) != _plain(base[key]) for key in SAME):
        raise ModelError(other_base(item, own.cross_attention_dim, unet))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def _is_xl(unet: Any) -> bool:
    return bool(unet.config.addition_embed_type == "text_time")


def takes_xl_adapters(unet: Any) -> bool:
    """Return whether the U-Net halves its latents before its first cross-attention, as SDXL's."""
    return bool(unet.config.down_block_types[0] == "DownBlock2D")


def _family(unet: Any) -> str:
    width = unet.config.cross_attention_dim
    known = "SDXL" if _is_xl(unet) else "SD 2.x" if unet.config.use_linear_projection else "SD 1.x"
    return FAMILY_WIDTHS.get(width, known)


def other_base(item: str, width: int | None, unet: Any) -> str:
    known = FAMILY_WIDTHS.get(width or 0)
    made_for = f"is made for {known}" if known else "has other layers than the model"
    return (
        f"{item} {made_for}, and the model is {_family(unet)}; choose a ControlNet that was made"
        f" for {_family(unet)}"
    )
