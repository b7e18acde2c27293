"""Sampler of a stream: the state of Stream Batch from call to call, latents in, x_0 out."""

from collections.abc import Callable

import torch
from torch import Tensor

from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.schedule import steps_at
from streamcam.diffusion.stream_batch import (
    InFlight,
    Noise,
    StepPlan,
    initial_state,
    sequential,
    stream_batch,
)
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters


class Sampler:
    """Take f frames at a time through n denoising steps.

    Args:
        model: the U-Net and the text encoders.
        config: the number of steps and frames, and the mode.
        send: returns a CPU tensor on the model's device.
    """

    def __init__(self, model: ImageModel, config: Config, send: Callable[[Tensor], Tensor]) -> None:
        self._model = model
        self._config = config
        self._send = send
        self._n = config.num_steps
        self._guidance = GUIDANCE[config.cfg_type]
        self._from_noise = config.mode == "txt2img"
        self._conditioner = Conditioner(model)
        self.reset(config.live)

    def reset(self, parameters: Parameters) -> None:
        """Assign all state: nothing is in flight."""
        self.parameters = parameters
        self._reseed(parameters.seed)
        self._reschedule(parameters)
        self.plan = self._new_plan()
        self.in_flight: InFlight | None = None
        self._latents: Tensor | None = None
        self._calls = 0

    def prepare(self, parameters: Parameters) -> None:
        """Encode the texts of `parameters` before they are used.

        Raises:
            PromptError: a text cannot be encoded; nothing has changed.
        """
        self._conditioner.prepare(parameters, negative=self._guidance.negative_rows(self._n) > 0)

    @property
    def notice(self) -> str:
        """The part of the prompts in use that is not read, in one line; empty if all is."""
        return self._conditioner.notice

    def update(self, parameters: Parameters) -> None:
        """Run with `parameters` from the next call on; latents in flight follow them too."""
        before, self.parameters = self.parameters, parameters
        if parameters.seed != before.seed:
            self._reseed(parameters.seed)
        if self._schedule_of(parameters) != self._schedule:
            self._reschedule(parameters)
        if parameters != before:
            self.plan = self._new_plan()

    def __call__(self, latents: Tensor | None) -> Tensor | None:
        """Make one call of Stream Batch.

        Args:
            latents: ``(f, C, h, w)`` of new frames; None to repeat the last ones. Without
                effect if images are made from noise alone.

        Returns:
            ``(f, C, h, w)`` x_0 of the frames that entered n - 1 calls ago; None while those
            are still in flight.
        """
        if latents is not None:
            self._latents = latents
        x_t = self._first_step_input()
        if not self._config.use_denoising_batch:
            return sequential(x_t, self.plan, self.predict_noise)
        if self.in_flight is None:
            self.in_flight = initial_state(x_t if self._latents is None else self._latents, self._n)
        x_0, self.in_flight = stream_batch(x_t, self.in_flight, self.plan, self.predict_noise)
        self._calls = min(self._calls + 1, self._n)
        return x_0 if self._calls == self._n else None

    def draw_noise(self) -> Tensor:
        """Return fresh noise ``(f, C, h, w)``, after the draws before."""
        # One draw a frame: f frames at a time then see what they would see one by one.
        return torch.cat([self._draw(1) for _ in range(self._config.frame_buffer_size)])

    def predict_noise(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        """Run the U-Net on ``(S, f, C, h, w)``, with ``(S,)`` timesteps.

        The rows with the negative prompt come first.
        """
        total, f = x_t.shape[:2]
        positive = self._n if self._config.use_denoising_batch else 1
        condition = self._conditioner(
            self.parameters, negative=(total - positive) * f, positive=positive * f
        )
        per_row = timesteps if f == 1 else timesteps.repeat_interleave(f)
        eps = self._model.denoise(x_t.flatten(0, 1), per_row, condition)
        return eps.reshape(x_t.shape)

    def _first_step_input(self) -> Tensor:
        """Return the x_t that enters the first step: noised latents, or noise alone."""
        if self._from_noise:
            return self.draw_noise()
        assert self._latents is not None
        return self.plan.add_noise(self._latents)

    def _reseed(self, seed: int) -> None:
        # The published draw: all steps at once from a CPU generator, which then goes on.
        self._generator = torch.Generator("cpu").manual_seed(seed)
        stock = self._draw(self._n).unsqueeze(1)
        added = stock
        if not self._config.do_add_noise:
            added = torch.cat([stock[:1], torch.zeros_like(stock[1:])])
        self.noise = Noise(added, stock)

    def _draw(self, rows: int) -> Tensor:
        shape = (rows, *self._model.latent_shape)
        return self._send(torch.randn(shape, generator=self._generator))

    def _schedule_of(self, parameters: Parameters) -> tuple[tuple[int, ...], int]:
        return self._config.indices(parameters), parameters.num_inference_steps

    def _reschedule(self, parameters: Parameters) -> None:
        self._schedule = self._schedule_of(parameters)
        self.steps = steps_at(*self._schedule, self._model.alphas_cumprod)

    def _new_plan(self) -> StepPlan:
        scale, delta = self.parameters.guidance_scale, self.parameters.delta
        return StepPlan(self.steps, self.noise, self._guidance, scale, delta)
