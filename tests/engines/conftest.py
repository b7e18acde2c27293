"""A small stage with all that engines must handle: tuples, expanded rows and None."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn


class Conditioning(NamedTuple):
    states: Tensor
    pooled: Tensor | None


class Small(nn.Module):
    """``(rows, 3, H, W)``, ``(rows,)`` and conditioning, to ``(rows, 3, H, W)``."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.scale = scale

    def extra_repr(self) -> str:
        return f"scale={self.scale}"

    def forward(self, x: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        moved = self.convolution(x) + timesteps.reshape(-1, 1, 1, 1) / 1000
        return torch.tanh(
            moved * self.scale + conditioning.states.mean((1, 2)).reshape(-1, 1, 1, 1)
        )


def small(seed: int = 0, scale: float = 1.0) -> Small:
    torch.manual_seed(seed)
    return Small(scale).eval().requires_grad_(False)


def call(rows: int = 2, side: int = 16, seed: int = 0) -> tuple[Tensor, Tensor, Conditioning]:
    """Return the arguments of a call, the states of one row expanded to all."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, side, side, generator=generator)
    states = torch.randn(1, 4, 5, generator=generator).expand(rows, -1, -1)
    return x, torch.arange(rows) * 100, Conditioning(states, None)


@pytest.fixture
def stage() -> Small:
    return small()
