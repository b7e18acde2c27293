"""Residuals that ControlNets and T2I-Adapters add to a U-Net, packed into one tensor of each kind.

Engines take and return one tensor of a fixed shape: a row holds all residuals of that row, one
after another.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from streamcam.diffusion.steering import Steering

Shape = tuple[int, ...]
"""Of one residual without its rows: ``(C, h, w)``."""


class ResidualShapes(NamedTuple):
    """Shapes of what is added to a U-Net; none of a kind that is not there."""

    controlnets: tuple[Shape, ...] = ()
    """Of every residual of a ControlNet, that of the middle block last."""
    adapters: tuple[Shape, ...] = ()
    """Of the features of a T2I-Adapter."""


NO_RESIDUALS = ResidualShapes()


def pack(parts: Sequence[Tensor]) -> Tensor:
    """Return tensors ``(rows, C, h, w)`` as one, ``(rows, all values of a row)``."""
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def unpack(packed: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """Return the tensors of these shapes that `pack` was given."""
    parts = torch.split(packed, [prod(shape) for shape in shapes], dim=1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def unet_inputs(
    steering: Steering | None, shapes: ResidualShapes, dtype: torch.dtype
) -> dict[str, Any]:
    """Return the arguments by which a U-Net of diffusers takes the residuals of `steering`."""
    inputs: dict[str, Any] = {}
    if steering is not None and steering.controlnets is not None:
        *down, middle = unpack(steering.controlnets.to(dtype), shapes.controlnets)
        inputs["down_block_additional_residuals"] = tuple(down)
        inputs["mid_block_additional_residual"] = middle
    if steering is not None and steering.adapters is not None:
        features = unpack(steering.adapters.to(dtype), shapes.adapters)
        inputs["down_intrablock_additional_residuals"] = features
    return inputs
