"""Stream Batch: the steps of different frames in one call of the U-Net (StreamDiffusion, 3.1).

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

from streamcam.diffusion.guidance import GUIDANCE, Guidance, Scalar, rescaled
from streamcam.diffusion.schedule import Steps, predicted_eps, predicted_x_0
from streamcam.engines.fixed_memory import overwrite

PredictNoise = Callable[[Tensor, Tensor], Tensor]
"""The U-Net: x_t ``(S, f, C, h, w)`` and timesteps ``(S,)`` to eps, of the shape of x_t.

Without residual guidance it may give v instead, as `Steps.predicts_velocity` says.

The rows that run with the negative prompt come first.
"""


class InFlight(NamedTuple):
    """Frames between two calls; row i enters step i + 1."""

    x_0: Tensor
    """``(n - 1, f, C, h, w)``: the estimates."""
    residual: Tensor
    """Of the same shape: how far guidance believes each estimate has moved from its source."""
    eps: Tensor | None = None
    """Of the same shape: the noise that each estimate was seen in, for samplers that keep it."""


AfterStep = Callable[[int, InFlight], InFlight]
"""Returns the estimates after a step, given its number."""


def unchanged(_step: int, state: InFlight) -> InFlight:
    """Return `state`."""
    return state


class Noise(NamedTuple):
    """The noise of the n steps, ``(n, 1, C, h, w)``: frames of one call share it."""

    added: Tensor
    """Noise that is added to the latents; zero after the first row without ``do_add_noise``."""
    stock: Tensor
    """Stock noise: the residual noise starts from it."""


class AddNoise(NamedTuple):
    """The forward process x_t = alpha x_0 + beta eps, for steps that are known beforehand."""

    alpha: Tensor
    noise: Tensor
    """beta eps."""

    def __call__(self, x_0: Tensor) -> Tensor:
        return torch.addcmul(self.noise, self.alpha, x_0)


class EpsShares(NamedTuple):
    """Factors of the eps of the step before, for samplers that keep it."""

    of_x_t: Tensor
    of_stock: Tensor
    """In the virtual residual noise."""


@dataclass(frozen=True)
class StepPlan:
    """All inputs of a call but the latents; factors derived from them are computed once."""

    steps: Steps
    noise: Noise
    guidance: Guidance
    guidance_scale: Scalar
    delta: Scalar
    guidance_rescale: Scalar | None = None
    """None where estimates stay as guidance gives them."""

    @cached_property
    def negative_rows(self) -> int:
        """Return how many steps also run with the negative prompt, the first ones."""
        return self.guidance.negative_rows(len(self.steps))

    @cached_property
    def timesteps(self) -> Tensor:
        """Return the timesteps of all rows: those with the negative prompt, then all steps."""
        all_steps = self.steps.timesteps
        return torch.cat([all_steps[: self.negative_rows], all_steps])

    @cached_property
    def add_noise(self) -> AddNoise:
        """Noise the latents of new frames ``(f, C, h, w)`` for the first step."""
        alpha, noise = self._add_noise
        return AddNoise(alpha[0], noise[0])

    @cached_property
    def add_next_noise(self) -> AddNoise:
        """Noise the estimates in flight ``(n - 1, f, C, h, w)`` for their next steps."""
        alpha, noise = self._add_noise
        return AddNoise(alpha[1:], noise[1:])

    @cached_property
    def residual_noise(self) -> AddNoise:
        """Return the virtual residual noise of frames in flight, given their residuals."""
        alpha, noise = self._residual_noise
        return AddNoise(alpha[1:], noise[1:])

    @cached_property
    def eps_shares(self) -> "EpsShares | None":
        """Return the factors of the estimates' eps in their next steps; None if they keep none."""
        share = self.steps.eps_share
        return None if share is None else EpsShares(share, share / self.steps.beta)

    @cached_property
    def next_eps_shares(self) -> "EpsShares | None":
        """Return `eps_shares` of the frames in flight."""
        shares = self.eps_shares
        return None if shares is None else EpsShares(*(share[1:] for share in shares))

    @cached_property
    def _add_noise(self) -> AddNoise:
        share = self.steps.noise_share
        share = self.steps.beta if share is None else share
        return AddNoise(self.steps.alpha, share * self.noise.added)

    @cached_property
    def first_residual_noise(self) -> AddNoise:
        """Return `residual_noise` for the only step of a plan, where others came before it."""
        alpha, noise = self._residual_noise
        return AddNoise(alpha[:1], noise[:1])

    @cached_property
    def _residual_noise(self) -> AddNoise:
        steps, stock = self.steps, self.noise.stock
        if steps.noise_share is not None:
            stock = steps.noise_share / steps.beta * stock
        return AddNoise(steps.alpha / steps.beta, stock)

    def tensors(self) -> list[Tensor]:
        """Return the steps, their noise and all that follows from them, always in one order."""
        own = [*self.steps.tensors(), *self.noise, self.timesteps]
        return [*own, *(self.eps_shares or ()), *self._add_noise, *self._residual_noise]

    def overwrite(self, new: "StepPlan") -> None:
        """Take over the steps and the noise of `new`, in the memory of this plan.

        Calls that were recorded with this plan then run with them.
        """
        overwrite(self.tensors(), new.tensors())
        if "single_steps" in vars(self):  # Only where steps run one after another.
            for mine, theirs in zip(self.single_steps, new.single_steps, strict=True):
                mine.overwrite(theirs)

    @cached_property
    def single_steps(self) -> list["StepPlan"]:
        """Return a plan of one step for each of the steps."""
        return [self._only(index) for index in range(len(self.steps))]

    def _only(self, index: int) -> "StepPlan":
        row = slice(index, index + 1)
        return replace(
            self,
            steps=self.steps.only(index),
            noise=Noise(self.noise.added[row], self.noise.stock[row]),
            guidance=GUIDANCE[self.guidance.after_first] if index else self.guidance,
        )


def initial_state(x_0: Tensor, n: int, eps: Tensor | None = None) -> InFlight:
    """Return the state of a stream that has only seen `x_0` ``(f, C, h, w)`` so far.

    Samplers that keep it also need the noise `eps` ``(n - 1, 1, C, h, w)``.
    """
    repeated = x_0.expand(n - 1, *x_0.shape).contiguous()
    kept = None if eps is None else eps.expand_as(repeated).contiguous()
    return InFlight(repeated, torch.zeros_like(repeated), kept)


def stream_batch(
    x_t: Tensor, state: InFlight, plan: StepPlan, predict_noise: PredictNoise
) -> tuple[Tensor, InFlight]:
    """Take new frames in and return the oldest ones, in one call of the U-Net.

    Args:
        x_t: ``(f, C, h, w)``, the new frames' latents as they enter the first step.
        state: the frames in flight, as the previous call returned them.
        plan: the n steps, their noise and the guidance.
        predict_noise: the U-Net.

    Returns:
        ``(f, C, h, w)`` x_0 of the frames that entered n - 1 calls ago, and the new state.
    """
    new = x_t.unsqueeze(0)
    if len(plan.steps) == 1:  # Nothing is in flight.
        x_0, _, _ = guided_step(new, plan.noise.stock.expand_as(new), plan, predict_noise)
        return x_0[0], state
    noised = plan.add_next_noise(state.x_0)
    shares = plan.next_eps_shares
    if shares is not None and state.eps is not None:
        noised = torch.addcmul(noised, shares.of_x_t, state.eps)
    rows = torch.cat([new, noised])
    stock = plan.noise.stock.expand_as(rows)
    if plan.guidance.residual:
        next_stock = plan.residual_noise(state.residual)
        if shares is not None and state.eps is not None:
            next_stock = torch.addcmul(next_stock, shares.of_stock, state.eps)
        stock = torch.cat([stock[:1], next_stock])
    x_0, prediction, stock = guided_step(rows, stock, plan, predict_noise)
    moved = residual(prediction, stock, plan)[:-1] if plan.guidance.residual else state.residual
    kept = None if state.eps is None else predicted_eps(prediction, rows, plan.steps)[:-1]
    return x_0[-1], InFlight(x_0[:-1], moved, kept)


def sequential(
    x_t: Tensor,
    plan: StepPlan,
    predict_noise: PredictNoise,
    after_step: AfterStep = unchanged,
) -> Tensor:
    """Take frames through all n steps, one call of the U-Net after another.

    Args:
        x_t: ``(f, C, h, w)``, as they enter the first step.
        plan: the n steps, their noise and the guidance.
        predict_noise: the U-Net.
        after_step: changes the estimates of each step.

    Returns:
        ``(f, C, h, w)`` x_0, as `stream_batch` returns it n - 1 calls later.
    """
    state = initial_state(x_t, 2)
    for i, step in enumerate(plan.single_steps):
        stock = step.noise.stock
        if i:
            x_t = step.add_noise(state.x_0[0])
            stock = step.first_residual_noise(state.residual)
            if step.eps_shares is not None and state.eps is not None:
                x_t = torch.addcmul(x_t, step.eps_shares.of_x_t[0], state.eps[0])
                stock = torch.addcmul(stock, step.eps_shares.of_stock, state.eps)
        rows = x_t.unsqueeze(0)
        stock = stock.expand_as(rows)
        x_0, prediction, stock = guided_step(rows, stock, step, predict_noise)
        eps = predicted_eps(prediction, rows, step.steps)
        state = after_step(i, InFlight(x_0, residual(prediction, stock, step), eps))
    return state.x_0[0]


def guided_step(
    x_t: Tensor, stock: Tensor, plan: StepPlan, predict_noise: PredictNoise
) -> tuple[Tensor, Tensor, Tensor]:
    """Denoise S rows ``(S, f, C, h, w)``, each at its own step.

    Args:
        x_t: the noised latents.
        stock: their virtual residual noise, of the same shape.
        plan: the S steps and the guidance.
        predict_noise: the U-Net.

    Returns:
        The estimates x_0, the guided eps (or v), and the residual noise used for guidance, all of
        the shape of `x_t`.
    """
    m = plan.negative_rows
    rows = torch.cat([x_t[:m], x_t]) if m else x_t
    predicted = predict_noise(rows, plan.timesteps)
    eps, stock = plan.guidance.combine(
        predicted[m:], predicted[:m], stock, plan.guidance_scale, plan.delta
    )
    x_0 = predicted_x_0(eps, x_t, plan.steps)
    if plan.guidance_rescale is not None:
        x_0 = rescaled(x_0, predicted_x_0(predicted[m:], x_t, plan.steps), plan.guidance_rescale)
    return x_0, eps, stock


def residual(eps: Tensor, stock: Tensor, plan: StepPlan) -> Tensor:
    """Return how far guidance believes each estimate has moved; zero in modes without residual."""
    if not plan.guidance.residual:
        return torch.zeros_like(eps)
    return predicted_x_0(eps, plan.steps.beta * stock, plan.steps)
