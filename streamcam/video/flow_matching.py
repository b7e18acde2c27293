"""Flow matching: x_t = (1 - sigma) x_0 + sigma eps, and the flow v = eps - x_0."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor

TRAIN_TIMESTEPS = 1000


class FlowSchedule(NamedTuple):
    """Noise levels that a model was trained on, noisiest first."""

    sigmas: Tensor
    """``(1000,)`` float32, from 1 down."""

    @classmethod
    def shifted(cls, shift: float) -> Self:
        """Return the schedule with its levels shifted towards noise; 1 leaves them even."""
        even = torch.linspace(1.0, 0.0, TRAIN_TIMESTEPS + 1, dtype=torch.float32)[:-1]
        return cls(shift * even / (1 + (shift - 1) * even))

    @property
    def timesteps(self) -> Tensor:
        """``(1000,)`` float32: the noise levels in thousandths."""
        return self.sigmas * TRAIN_TIMESTEPS

    def sigma(self, timestep: float) -> float:
        """Return the noise level of the nearest timestep in the schedule."""
        return float(self.sigmas[(self.timesteps - timestep).abs().argmin()])

    def warp_timesteps(self, timesteps: Sequence[int]) -> list[float]:
        """Return the timesteps at these indices of an even schedule (Self-Forcing)."""
        ends = torch.cat([self.timesteps, torch.zeros(1)])
        return [float(ends[TRAIN_TIMESTEPS - timestep]) for timestep in timesteps]


class Steps(NamedTuple):
    """Denoising steps of a stream, noisiest first, with the schedule of their noise levels."""

    timesteps: tuple[float, ...]
    flow: FlowSchedule
    clean_pass: bool = False
    """Whether a chunk passes once more when it is done, without noise, so that later ones attend to
    it as it came out (Self-Forcing, arXiv 2506.08009). Not of a batch, whose chunks are not done.
    """

    def sigma(self, timestep: float) -> float:
        """Return the noise level of a timestep."""
        return self.flow.sigma(timestep)


def add_noise(x_0: Tensor, eps: Tensor, sigma: Tensor | float) -> Tensor:
    """Return x_t at the noise level `sigma`, 0 to 1."""
    return (1 - sigma) * x_0 + sigma * eps


def predict_x_0(x_t: Tensor, flow: Tensor, sigma: Tensor | float) -> Tensor:
    """Return the estimate of x_0 that follows from the predicted flow."""
    return x_t - sigma * flow
