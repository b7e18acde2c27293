"""LCM schedule and the coefficients of its steps (LCM, arXiv 2310.04378, section 4)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

ORIGINAL_STEPS = 50
"""Number of steps of the schedule that latent consistency models were distilled on."""
SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0
MIN_ALPHA_CUMPROD = 2.0**-24
"""Keeps 1/alpha finite where a schedule has been rescaled to zero terminal SNR."""


@dataclass(frozen=True)
class Steps:
    """The n denoising steps of a stream, noisiest first.

    `timesteps` is ``(n,)`` int64; the rest is ``(n, 1, 1, 1, 1)`` float32, to broadcast
    over ``(n, f, C, h, w)``.
    """

    timesteps: Tensor
    alpha: Tensor
    beta: Tensor
    c_skip: Tensor
    c_out: Tensor

    @cached_property
    def x_t_factor(self) -> Tensor:
        """Return the factor of x_t in the estimate of x_0."""
        return self.c_skip + self.c_out / self.alpha

    @cached_property
    def eps_factor(self) -> Tensor:
        """Return the factor of eps in the estimate of x_0."""
        return -self.c_out * self.beta / self.alpha

    def tensors(self) -> list[Tensor]:
        """Return the timesteps and all coefficients and factors."""
        coefficients = [self.alpha, self.beta, self.c_skip, self.c_out]
        return [self.timesteps, *coefficients, self.x_t_factor, self.eps_factor]

    def __len__(self) -> int:
        return len(self.timesteps)

    def only(self, index: int) -> Self:
        """Return the one step at `index`, as `Steps` of length 1."""
        row = slice(index, index + 1)
        return type(self)(
            self.timesteps[row],
            self.alpha[row],
            self.beta[row],
            self.c_skip[row],
            self.c_out[row],
        )


def lcm_timesteps(num_inference_steps: int, num_train_timesteps: int = 1000) -> list[int]:
    """Return the schedule's timesteps, descending; the first one is pure noise.

    Up to 50 they are picked from the 50 of the distillation; beyond that, the same rule is
    applied to a finer original schedule.
    """
    original = max(ORIGINAL_STEPS, num_inference_steps)
    return [
        (original - i * original // num_inference_steps) * num_train_timesteps // original - 1
        for i in range(num_inference_steps)
    ]


def steps_at(indices: tuple[int, ...], num_inference_steps: int, alphas_cumprod: Tensor) -> Steps:
    """Return the steps at `indices` of the schedule, on the device of `alphas_cumprod`."""
    device = alphas_cumprod.device
    schedule = lcm_timesteps(num_inference_steps, len(alphas_cumprod))
    timesteps = torch.tensor([schedule[i] for i in indices], device=device)
    alpha, beta = signal_and_noise(timesteps, alphas_cumprod)
    scaled = timesteps.float().reshape(-1, 1, 1, 1, 1) * TIMESTEP_SCALING
    variance = scaled**2 + SIGMA_DATA**2
    return Steps(
        timesteps=timesteps,
        alpha=alpha.unsqueeze(-1),
        beta=beta.unsqueeze(-1),
        c_skip=SIGMA_DATA**2 / variance,
        c_out=scaled / variance.sqrt(),
    )


def signal_and_noise(timesteps: Tensor, alphas_cumprod: Tensor) -> tuple[Tensor, Tensor]:
    """Return alpha and beta, each ``(rows, 1, 1, 1)``, of x_t = alpha x_0 + beta eps."""
    a = alphas_cumprod[timesteps].clamp(min=MIN_ALPHA_CUMPROD).reshape(-1, 1, 1, 1)
    return a.sqrt(), (1 - a).sqrt()


def predicted_x_0(eps: Tensor, x_t: Tensor, steps: Steps) -> Tensor:
    """Return the consistency function's estimate of x_0 (LCM, equation 9).

    It is c_out (x_t - beta eps) / alpha + c_skip x_t; the factors of x_t and eps are computed
    beforehand.
    """
    return torch.addcmul(steps.x_t_factor * x_t, steps.eps_factor, eps)
