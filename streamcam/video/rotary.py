"""Sinusoidal time embeddings and rotary position embeddings, computed in float64 on the CPU.

There is no table, so no position is too high; and no float64 arithmetic on the device.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Rows = Sequence[Sequence[int]]
"""Plain numbers, one list for each row of a call."""
Times = Sequence[Sequence[float]]
"""Timesteps, one list for each row of a call; those of a shifted schedule are no whole numbers."""

THETA = 10000.0
"""Base of the frequencies, of times and positions alike."""


def frequencies(dims: int) -> Tensor:
    """Return ``(dims / 2,)`` float64 angular frequencies for that many dimensions."""
    return THETA ** -(torch.arange(0, dims, 2, dtype=torch.float64) / dims)


def phase_angles(numbers: Times, dims: int) -> Tensor:
    """Return the angles of times or positions, ``(rows, f, dims / 2)`` float64."""
    return torch.tensor(numbers, dtype=torch.float64)[..., None] * frequencies(dims)


def sinusoid(timesteps: Times, dims: int) -> Tensor:
    """Return time embeddings ``(rows, f, dims)`` float32: cosines, then sines."""
    angles = phase_angles(timesteps, dims)
    return torch.cat([angles.cos(), angles.sin()], -1).float()


def spatial_rotary(grid: tuple[int, int], dims: int) -> tuple[Tensor, Tensor]:
    """Return cos and sin ``(tokens, dims)`` float32: of each token's row, then of its column.

    Args:
        grid: height and width in tokens.
        dims: of the row, and as many of the column.
    """
    high, wide = (phase_angles([range(side)], dims)[0] for side in grid)
    by_token = (high[:, None].expand(-1, grid[1], -1), wide[None].expand(grid[0], -1, -1))
    angles = torch.cat(by_token, -1).flatten(0, 1)
    return angles.cos().float(), angles.sin().float()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring pairs in the last dimension of `x` (RoPE), in float32.

    Args:
        x: ``(…, d)``.
        cos: broadcast over ``(…, d / 2)``, as is `sin`.
        sin: of the same angles.
    """
    a, b = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).type_as(x)
