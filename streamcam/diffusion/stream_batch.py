"""Stream Batch: the steps of different frames as one call of the U-Net (section 3.1).

With n steps and f frames in a call, row i of a batch holds the frames that entered i calls
ago, at step i. In flight are clean estimates x_0 rather than noised latents: they are noised
when they enter their next step, so seed and timesteps may change between any two calls.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.diffusion.guidance import GUIDANCE, Guidance, Scalar
from streamcam.diffusion.schedule import Steps, predicted_x_0

Denoise = Callable[[Tensor, Tensor], Tensor]
"""``(S, f, C, h, w)`` latents and ``(S,)`` timesteps to the noise in them, of the same shape.

The rows that run with the negative prompt come first.
"""


class InFlight(NamedTuple):
    """What a call leaves for the next one; row i enters step i + 1."""

    x_0: Tensor
    """``(n - 1, f, C, h, w)``: the estimates."""
    residual: Tensor
    """Likewise: how far guidance believes each estimate has moved from its source."""


class Noise(NamedTuple):
    """The noise of the n steps, ``(n, 1, C, h, w)``: frames of one call share it."""

    added: Tensor
    """What the latents are noised with; zero after the first row without ``do_add_noise``."""
    stock: Tensor
    """What the residual noise starts from."""


class Plan(NamedTuple):
    """What one call is made with, beside the latents."""

    steps: Steps
    noise: Noise
    guidance: Guidance
    guidance_scale: Scalar
    delta: Scalar

    def only(self, index: int) -> "Plan":
        """Return the plan of the one step at `index`, when steps run one by one."""
        row = slice(index, index + 1)
        return self._replace(
            steps=self.steps.only(index),
            noise=Noise(self.noise.added[row], self.noise.stock[row]),
            guidance=GUIDANCE[self.guidance.after_first] if index else self.guidance,
        )


def at_rest(x_0: Tensor, n: int) -> InFlight:
    """Return the state of a stream that has seen nothing but `x_0` ``(f, C, h, w)`` so far."""
    held = x_0.expand(n - 1, *x_0.shape)
    return InFlight(held, torch.zeros_like(held))


def noised(x_0: Tensor, plan: Plan) -> Tensor:
    """Return the latents `x_0` ``(f, C, h, w)`` as they enter the first step."""
    return plan.steps.alpha[0] * x_0 + plan.steps.beta[0] * plan.noise.added[0]


def stream_batch(
    x_t: Tensor, state: InFlight, plan: Plan, denoise: Denoise
) -> tuple[Tensor, InFlight]:
    """Take new frames in and let the oldest out, in one call of the U-Net.

    Args:
        x_t: ``(f, C, h, w)``, the new frames' latents as they enter the first step.
        state: what the previous call left.
        plan: the n steps, their noise, and how to guide.
        denoise: the U-Net.

    Returns:
        ``(f, C, h, w)`` x_0 of the frames that entered n - 1 calls ago, and the new state.
    """
    steps, noise = plan.steps, plan.noise
    held = steps.alpha[1:] * state.x_0 + steps.beta[1:] * noise.added[1:]
    rows = torch.cat([x_t.unsqueeze(0), held])
    stock = noise.stock.expand_as(rows)
    if plan.guidance.residual:
        carried = steps.alpha[1:] / steps.beta[1:] * state.residual
        stock = torch.cat([stock[:1], stock[1:] + carried])
    x_0, residual = guided_step(rows, stock, plan, denoise)
    return x_0[-1], InFlight(x_0[:-1], residual[:-1])


def sequential(x_t: Tensor, plan: Plan, denoise: Denoise) -> Tensor:
    """Take frames through all n steps, one call of the U-Net after another.

    Takes what `stream_batch` takes and gives what that gives n - 1 calls later.
    """
    state = at_rest(x_t, 2)
    for i in range(len(plan.steps)):
        one = plan.only(i)
        if i:
            x_t = (one.steps.alpha * state.x_0 + one.steps.beta * one.noise.added)[0]
        rows = x_t.unsqueeze(0)
        stock = one.noise.stock.expand_as(rows)
        stock = stock + one.steps.alpha / one.steps.beta * state.residual
        state = InFlight(*guided_step(rows, stock, one, denoise))
    return state.x_0[0]


def guided_step(x_t: Tensor, stock: Tensor, plan: Plan, denoise: Denoise) -> tuple[Tensor, Tensor]:
    """Denoise S rows ``(S, f, C, h, w)``, each at its own step.

    Args:
        x_t: the latents.
        stock: the residual noise that goes with them, of the same shape.

    Returns:
        The estimates x_0 and their residuals, both of the shape of `x_t`; the residuals are
        zero in modes that have none.
    """
    steps, guidance = plan.steps, plan.guidance
    m = guidance.negative_rows(len(steps))
    rows = torch.cat([x_t[:m], x_t]) if m else x_t
    timesteps = torch.cat([steps.timesteps[:m], steps.timesteps]) if m else steps.timesteps
    predicted = denoise(rows, timesteps)
    eps, stock = guidance.combine(
        predicted[m:], predicted[:m], stock, plan.guidance_scale, plan.delta
    )
    x_0 = predicted_x_0(eps, x_t, steps)
    if not guidance.residual:
        return x_0, torch.zeros_like(x_0)
    return x_0, predicted_x_0(eps, steps.beta * stock, steps)
