"""Steering of a U-Net call besides its texts: live tensors that its layers read.

They are inputs of the stage and so of its engines: changing one never builds anything again.
Layers deep inside the U-Net cannot be handed them as arguments, so `Denoise` puts them into
`LayerInputs` at the beginning of a call, for the layers that were given the same object. What
layers leave there comes out with the noise, as one plain tensor, which every engine accepts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Steering(NamedTuple):
    """The steering tensors of one U-Net call, None where a setting is off."""

    lora_scales: Tensor | None = None
    """``(loras,)``."""
    controlnets: Tensor | None = None
    """``(rows, values)``: the residuals of all ControlNets, packed; see `residuals`."""
    adapters: Tensor | None = None
    """``(rows, values)``: the features of all T2I-Adapters, packed."""

    @property
    def is_off(self) -> bool:
        """Whether nothing steers."""
        return all(part is None for part in self)


class LayerInputs:
    """The steering of the call that runs now, and what its layers add to the result."""

    def __init__(self) -> None:
        self.begin(None)

    def begin(self, steering: Steering | None) -> None:
        """Begin a call."""
        self.steering = steering or Steering()
        self.outputs: list[Tensor] = []
        """Tensors ``(rows, …)`` that layers have left, in the order in which they ran."""

    @property
    def lora_scales(self) -> Tensor | None:
        """The scales of all LoRAs, as their layers read them."""
        return self.steering.lora_scales


def packed(noise: Tensor, outputs: Sequence[Tensor]) -> Tensor:
    """Return tensors ``(rows, …)`` as one, ``(rows, all values of a row)``; see `unpacked`."""
    parts = [part.flatten(1).float() for part in (noise, *outputs)]
    return torch.cat(parts, dim=1)


def unpacked(result: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return the noise, of the `shape` it had, and a row of all other values for each row."""
    count = shape[1:].numel()
    return result[:, :count].reshape(shape), result[:, count:]
