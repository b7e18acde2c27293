"""Schedules of few-step models: their timesteps, and the coefficients of their steps.

All samplers are one formula. A step estimates x_0, and the next one begins at
x_t = alpha x_0 + eps_share eps + noise_share noise, where eps is the step's own prediction. They
differ in the shares only (`_shares`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import torch
from torch import Tensor

ORIGINAL_STEPS = 50
"""Number of steps of the schedule that latent consistency models were distilled on."""
SIGMA_DATA = 0.5
TIMESTEP_SCALING = 10.0
MIN_ALPHA_CUMPROD = 2.0**-24
"""Keeps 1/alpha finite where a schedule has been rescaled to zero terminal SNR."""


class Sampling(NamedTuple):
    """The schedule and the sampler that a model was made for."""

    spacing: str = "lcm"
    """As in the setting ``timestep_spacing``, but for ``auto``."""
    timesteps: tuple[int, ...] | None = None
    """All timesteps that the model knows, noisiest first; they replace the spacing."""
    sampler: str = "lcm"
    """As in the setting ``sampler``, but for ``auto``."""
    predicts_velocity: bool = False
    """Whether the model's stage returns v instead of eps, which says nothing where alpha is 0."""


LCM = Sampling()


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
    eps_share: Tensor | None = None
    """Factor of the eps of the step before in x_t; None where x_t keeps nothing of it."""
    noise_share: Tensor | None = None
    """Factor of the noise in x_t; None where it is beta."""
    predicts_velocity: bool = False

    @cached_property
    def x_t_factor(self) -> Tensor:
        """Return the factor of x_t in the estimate of x_0."""
        if self.predicts_velocity:
            return self.c_skip + self.c_out * self.alpha
        return self.c_skip + self.c_out / self.alpha

    @cached_property
    def prediction_factor(self) -> Tensor:
        """Return the factor of the prediction, eps or v, in the estimate of x_0."""
        if self.predicts_velocity:
            return -self.c_out * self.beta
        return -self.c_out * self.beta / self.alpha

    def tensors(self) -> list[Tensor]:
        """Return the timesteps and all coefficients and factors."""
        shares = [share for share in (self.eps_share, self.noise_share) if share is not None]
        coefficients = [self.alpha, self.beta, self.c_skip, self.c_out, *shares]
        return [self.timesteps, *coefficients, self.x_t_factor, self.prediction_factor]

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
            None if self.eps_share is None else self.eps_share[row],
            None if self.noise_share is None else self.noise_share[row],
            self.predicts_velocity,
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


def trailing_timesteps(num_inference_steps: int, num_train_timesteps: int = 1000) -> list[int]:
    """Return evenly spaced timesteps, descending from the last one of the training."""
    length = num_train_timesteps / num_inference_steps
    return [round(num_train_timesteps - i * length) - 1 for i in range(num_inference_steps)]


SPACINGS: dict[str, Callable[[int, int], list[int]]] = {
    "lcm": lcm_timesteps,
    "trailing": trailing_timesteps,
}
"""Rules for timesteps, by the setting ``timestep_spacing``."""


def steps_at(
    indices: tuple[int, ...],
    num_inference_steps: int,
    alphas_cumprod: Tensor,
    sampling: Sampling = LCM,
    eta: float = 0.0,
) -> Steps:
    """Return the steps at `indices` of the schedule, on the device of `alphas_cumprod`.

    Args:
        indices: ascending; 0 is the noisiest step.
        num_inference_steps: length of the schedule, unless the model's timesteps are given.
        alphas_cumprod: of the model's training.
        sampling: the schedule and the sampler.
        eta: share of fresh noise between steps, for the sampler ``tcd``.
    """
    spaced = SPACINGS[sampling.spacing]
    schedule = sampling.timesteps or spaced(num_inference_steps, len(alphas_cumprod))
    timesteps = torch.tensor([schedule[i] for i in indices], device=alphas_cumprod.device)
    # Nothing is divided by alpha where the prediction is v.
    least = 0.0 if sampling.predicts_velocity else MIN_ALPHA_CUMPROD
    alpha, beta = (c.unsqueeze(-1) for c in signal_and_noise(timesteps, alphas_cumprod, least))
    if sampling.sampler == "lcm":
        scaled = timesteps.float().reshape(-1, 1, 1, 1, 1) * TIMESTEP_SCALING
        variance = scaled**2 + SIGMA_DATA**2
        c_skip, c_out = SIGMA_DATA**2 / variance, scaled / variance.sqrt()
        eps_share = noise_share = None
    else:
        c_skip, c_out = torch.zeros_like(alpha), torch.ones_like(alpha)
        shares = _shares(sampling.sampler, timesteps, alphas_cumprod, eta)
        # Nothing comes before the first step: new frames get noise alone.
        eps_share = torch.cat([torch.zeros_like(beta[:1]), shares[0]])
        noise_share = torch.cat([beta[:1], shares[1]])
    return Steps(
        timesteps, alpha, beta, c_skip, c_out, eps_share, noise_share, sampling.predicts_velocity
    )


def _shares(
    sampler: str, timesteps: Tensor, alphas_cumprod: Tensor, eta: float
) -> tuple[Tensor, Tensor]:
    """Return the shares of eps and of fresh noise in every step but the first.

    Deterministic samplers (Euler in the form of this page, DDIM) keep eps alone. Euler's ancestral
    form and TCD (arXiv 2402.19159, algorithm 4) go on to a cleaner step, and add noise again.
    """
    before, after = (
        [c.unsqueeze(-1) for c in signal_and_noise(t, alphas_cumprod)]
        for t in (timesteps[:-1], timesteps[1:])
    )
    alpha, beta = after
    if sampler == "tcd":
        cleaner = torch.floor((1 - eta) * timesteps[1:]).long()
        alpha_s, beta_s = (c.unsqueeze(-1) for c in signal_and_noise(cleaner, alphas_cumprod))
    elif sampler == "euler_a":
        sigma_down = (beta / alpha) ** 2 * before[0] / before[1]
        alpha_s = (1 + sigma_down**2).rsqrt()
        beta_s = sigma_down * alpha_s
    else:
        return beta, torch.zeros_like(beta)
    fraction = alpha / alpha_s
    return fraction * beta_s, (1 - fraction**2).clamp(min=0).sqrt()


def signal_and_noise(
    timesteps: Tensor, alphas_cumprod: Tensor, least: float = MIN_ALPHA_CUMPROD
) -> tuple[Tensor, Tensor]:
    """Return alpha and beta, each ``(rows, 1, 1, 1)``, of x_t = alpha x_0 + beta eps.

    alpha squared is `least` at the least.
    """
    a = alphas_cumprod[timesteps].clamp(min=least).reshape(-1, 1, 1, 1)
    return a.sqrt(), (1 - a).sqrt()


def predicted_x_0(prediction: Tensor, x_t: Tensor, steps: Steps) -> Tensor:
    """Return the consistency function's estimate of x_0 (LCM, equation 9), from eps or v.

    It is c_out (x_t - beta eps) / alpha + c_skip x_t, or c_out (alpha x_t - beta v) + c_skip x_t;
    the factors of x_t and of the prediction are computed beforehand.
    """
    return torch.addcmul(steps.x_t_factor * x_t, steps.prediction_factor, prediction)


def predicted_eps(prediction: Tensor, x_t: Tensor, steps: Steps) -> Tensor:
    """Return the noise in x_t, from a prediction of eps or v."""
    if not steps.predicts_velocity:
        return prediction
    return torch.addcmul(steps.beta * x_t, steps.alpha, prediction)
