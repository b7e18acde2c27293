"""Classifier-free guidance and its residual forms (StreamDiffusion, section 3.2).

Every mode is one function of the same shape. With S rows of steps, f frames and latents
``(C, h, w)``, `eps` and `stock` are ``(S, f, C, h, w)``; `negative` holds the rows that were
run with the negative prompt. `stock` is the virtual residual noise: the noise that would
have carried the source latent to this step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Scalar = float | Tensor
Combine = Callable[[Tensor, Tensor, Tensor, Scalar, Scalar], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class Guidance:
    """How the U-Net's predictions become the guided one."""

    combine: Combine
    """``(eps, negative, stock, guidance_scale, delta)`` to guided eps and the stock noise used."""
    negative_rows: Callable[[int], int]
    """Steps that also run with the negative prompt, of S that run with the prompt."""
    residual: bool
    """Whether residual noise travels with the latents."""
    after_first: str
    """The mode in which the steps after the first one go on, when they run one by one."""


def unguided(
    eps: Tensor, _negative: Tensor, stock: Tensor, _scale: Scalar, _delta: Scalar
) -> tuple[Tensor, Tensor]:
    """Take the prediction as it is."""
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
"""Modes by the name that ``cfg_type`` gives them."""
