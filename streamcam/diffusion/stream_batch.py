"""Stream Batch: the steps of different frames as one call of the U-Net (section 3.1).

With n steps and f frames in a call, row i of a batch holds the frames that entered i calls
ago, at step i. In flight are clean estimates x_0 rather than noised latents: they are noised
when they enter their next step, so seed and timesteps may change between any two calls.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
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


class Entry(NamedTuple):
    """How estimates enter their steps: alpha x_0 + beta noise."""

    alpha: Tensor
    noise: Tensor
    """Beta is in it already."""

    def __call__(self, x_0: Tensor) -> Tensor:
        return torch.addcmul(self.noise, self.alpha, x_0)


@dataclass(frozen=True)
class StepPlan:
    """What calls are made with, beside the latents; what follows from it is worked out once."""

    steps: Steps
    noise: Noise
    guidance: Guidance
    guidance_scale: Scalar
    delta: Scalar

    @cached_property
    def negative_rows(self) -> int:
        """Return how many steps also run with the negative prompt, the first ones."""
        return self.guidance.negative_rows(len(self.steps))

    @cached_property
    def timesteps(self) -> Tensor:
        """Return those of all rows: with the negative prompt, then of all steps."""
        all_steps = self.steps.timesteps
        return torch.cat([all_steps[: self.negative_rows], all_steps])

    @cached_property
    def first(self) -> Entry:
        """Return how new frames enter the first step, ``(f, C, h, w)``."""
        alpha, noise = self._entry
        return Entry(alpha[0], noise[0])

    @cached_property
    def onward(self) -> Entry:
        """Return how frames in flight enter the others, ``(n - 1, f, C, h, w)``."""
        alpha, noise = self._entry
        return Entry(alpha[1:], noise[1:])

    @cached_property
    def carried(self) -> Entry:
        """Return the residual noise of frames in flight, from their residuals."""
        steps = self.steps
        return Entry((steps.alpha / steps.beta)[1:], self.noise.stock[1:])

    @cached_property
    def _entry(self) -> Entry:
        return Entry(self.steps.alpha, self.steps.beta * self.noise.added)

    @cached_property
    def one_by_one(self) -> list["StepPlan"]:
        """Return a plan for each step by itself."""
        return [self._only(index) for index in range(len(self.steps))]

    def _only(self, index: int) -> "StepPlan":
        row = slice(index, index + 1)
        return replace(
            self,
            steps=self.steps.only(index),
            noise=Noise(self.noise.added[row], self.noise.stock[row]),
            guidance=GUIDANCE[self.guidance.after_first] if index else self.guidance,
        )


def at_rest(x_0: Tensor, n: int) -> InFlight:
    """Return the state of a stream that has seen nothing but `x_0` ``(f, C, h, w)`` so far."""
    held = x_0.expand(n - 1, *x_0.shape)
    return InFlight(held, torch.zeros_like(held))


def stream_batch(
    x_t: Tensor, state: InFlight, plan: StepPlan, denoise: Denoise
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
    new = x_t.unsqueeze(0)
    if len(plan.steps) == 1:  # Nothing is in flight.
        x_0, _, _ = guided_step(new, plan.noise.stock.expand_as(new), plan, denoise)
        return x_0[0], state
    rows = torch.cat([new, plan.onward(state.x_0)])
    stock = plan.noise.stock.expand_as(rows)
    if plan.guidance.residual:
        stock = torch.cat([stock[:1], plan.carried(state.residual)])
    x_0, eps, stock = guided_step(rows, stock, plan, denoise)
    return x_0[-1], InFlight(x_0[:-1], residual(eps, stock, plan)[:-1])


def sequential(x_t: Tensor, plan: StepPlan, denoise: Denoise) -> Tensor:
    """Take frames through all n steps, one call of the U-Net after another.

    Takes what `stream_batch` takes and gives what that gives n - 1 calls later.
    """
    state = at_rest(x_t, 2)
    for i, one in enumerate(plan.one_by_one):
        if i:
            x_t = one.first(state.x_0[0])
        rows = x_t.unsqueeze(0)
        stock = one.noise.stock.expand_as(rows)
        stock = stock + one.steps.alpha / one.steps.beta * state.residual
        x_0, eps, stock = guided_step(rows, stock, one, denoise)
        state = InFlight(x_0, residual(eps, stock, one))
    return state.x_0[0]


def guided_step(
    x_t: Tensor, stock: Tensor, plan: StepPlan, denoise: Denoise
) -> tuple[Tensor, Tensor, Tensor]:
    """Denoise S rows ``(S, f, C, h, w)``, each at its own step.

    Args:
        x_t: the latents.
        stock: the residual noise that goes with them, of the same shape.

    Returns:
        The estimates x_0, the guided noise, and the residual noise that it was guided by, all
        of the shape of `x_t`.
    """
    m = plan.negative_rows
    rows = torch.cat([x_t[:m], x_t]) if m else x_t
    predicted = denoise(rows, plan.timesteps)
    eps, stock = plan.guidance.combine(
        predicted[m:], predicted[:m], stock, plan.guidance_scale, plan.delta
    )
    return predicted_x_0(eps, x_t, plan.steps), eps, stock


def residual(eps: Tensor, stock: Tensor, plan: StepPlan) -> Tensor:
    """Return how far guidance believes each estimate has moved; zero in modes that do not ask."""
    if not plan.guidance.residual:
        return torch.zeros_like(eps)
    return predicted_x_0(eps, plan.steps.beta * stock, plan.steps)
