"""Classifier-free guidance and residual CFG, RCFG (StreamDiffusion, section 3.2).

Every mode is one function with the same signature. With S rows of steps, f frames and latents
``(C, h, w)``, `eps` and `stock` are ``(S, f, C, h, w)``; `negative` are the predictions
with the negative prompt. `stock` is the virtual residual noise: the noise that would
have carried the source latent to this step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Scalar = float | Tensor
LEAST_DEVIATION = 1e-6
Combine = Callable[[Tensor, Tensor, Tensor, Scalar, Scalar], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Guidance:
    """A mode of guidance: its formula, and the rows and the state that it needs."""

    combine: Combine
    """``(eps, negative, stock, guidance_scale, delta)`` to guided eps and the stock noise used."""
    negative_rows: Callable[[int], int]
    """The number of steps that also run with the negative prompt, of S steps."""
    residual: bool
    """Whether residual noise is carried from step to step."""
    after_first: str
    """The mode of the steps after the first one, when they run one after the other."""


def unguided(
    eps: Tensor, _negative: Tensor, stock: Tensor, _scale: Scalar, _delta: Scalar
) -> tuple[Tensor, Tensor]:
    """Return the prediction unchanged."""
    return eps, stock


def full(
    eps: Tensor, negative: Tensor, stock: Tensor, scale: Scalar, _delta: Scalar
) -> tuple[Tensor, Tensor]:
    """Classifier-free guidance: every row also runs with the negative prompt."""
    return torch.lerp(negative, eps, scale), stock


def self_negative(
    eps: Tensor, _negative: Tensor, stock: Tensor, scale: Scalar, delta: Scalar
) -> tuple[Tensor, Tensor]:
    """Residual guidance away from the source itself: no extra rows (equation 5)."""
    return torch.lerp(delta * stock, eps, scale), stock


def onetime_negative(
    eps: Tensor, negative: Tensor, stock: Tensor, scale: Scalar, delta: Scalar
) -> tuple[Tensor, Tensor]:
    """Residual guidance away from the negative prompt, run once per frame (equation 6)."""
    stock = torch.cat([negative, stock[1:]])
    return self_negative(eps, negative, stock, scale, delta)


GUIDANCE = {
    "none": Guidance(unguided, lambda _: 0, residual=False, after_first="none"),
    "full": Guidance(full, lambda steps: steps, residual=False, after_first="full"),
    "self": Guidance(self_negative, lambda _: 0, residual=True, after_first="self"),
    "initialize": Guidance(onetime_negative, lambda _: 1, residual=True, after_first="self"),
}
"""Modes of guidance by ``cfg_type``."""


def rescaled(guided: Tensor, unguided_x_0: Tensor, share: Scalar) -> Tensor:
    """Return guided estimates with the statistics of those without guidance.

    After Lin et al. (arXiv 2305.08891, section 3.4), who match the deviation of the whole
    prediction. Here each channel of x_0 has its own deviation and mean: guidance shifts these too,
    which shows as a cast of colour.

    Args:
        guided: ``(S, f, C, h, w)``.
        unguided_x_0: the same.
        share: 0 for `guided` as it is, 1 for all of their statistics.
    """
    there, here = (
        torch.std_mean(x_0, dim=(-2, -1), keepdim=True) for x_0 in (guided, unguided_x_0)
    )
    gain = here[0] / there[0].clamp(min=LEAST_DEVIATION)
    return torch.lerp(guided, (guided - there[1]) * gain + here[1], share)
