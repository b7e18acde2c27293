"""Sampler of a stream: the state of Stream Batch from call to call, latents in, x_0 out."""

from collections.abc import Callable

import torch
from torch import Tensor

from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.image_prompts import ImagePrompts
from streamcam.diffusion.schedule import steps_at
from streamcam.diffusion.stages import Condition
from streamcam.diffusion.steering import Steering
from streamcam.diffusion.stream_batch import (
    InFlight,
    Noise,
    StepPlan,
    initial_state,
    sequential,
    stream_batch,
)
from streamcam.engines.fixed_memory import FixedMemory
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters


class Sampler:
    """Take f frames at a time through n denoising steps.

    A call is in two parts: `begin` on the CPU, and `step`, which only launches work on the device.
    With `fixed` memory, `step` may be recorded as a graph in any call that is `steady`: all that
    changes from call to call, parameters included, is then copied to where it was before.

    Args:
        model: the U-Net and the text encoders.
        config: the number of steps and frames, and the mode.
        copy: copies a CPU tensor into one on the model's device, without waiting.
        fixed: whether calls are recorded, so that their memory must stay where it is.
    """

    def __init__(
        self,
        model: ImageModel,
        config: Config,
        copy: Callable[[Tensor, Tensor], object],
        *,
        fixed: bool = False,
    ) -> None:
        self._model = model
        self._config = config
        self._copy = copy
        self._n = config.num_steps
        self._guidance = GUIDANCE[config.cfg_type]
        self._from_noise = config.mode == "txt2img"
        self._conditioner = Conditioner(model)
        self._memory = FixedMemory(fixed=fixed)
        self._conditions: dict[tuple[int, int], Condition] = {}
        self._taken: dict[tuple[int, int], Condition] = {}
        self._drawn: Tensor | None = None
        # Tensors, so that a recorded call reads their newest values.
        self._guidance_scale, self._delta = torch.zeros(2, device=model.device).unbind()
        self._fixed = fixed
        self._fixed_plan: StepPlan | None = None
        self.image_prompts: ImagePrompts | None = None
        if model.image_prompts:
            self.image_prompts = ImagePrompts(
                model.image_prompts, config.live, self._memory, model.device
            )
        self.reset(config.live)

    def reset(self, parameters: Parameters) -> None:
        """Assign all state: nothing is in flight."""
        self.parameters = parameters
        self._guidance_scale.fill_(parameters.guidance_scale)
        self._delta.fill_(parameters.delta)
        self._reseed(parameters.seed)
        self._reschedule(parameters)
        self._replan()
        if self.image_prompts:
            self.image_prompts.update(parameters)
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
        """The part of the prompts in use that is not used, in one line; empty if all is."""
        of_images = self.image_prompts.notice if self.image_prompts else ""
        return "; ".join(filter(None, [self._conditioner.notice, of_images]))

    def update(self, parameters: Parameters) -> None:
        """Run with `parameters` from the next call on; latents in flight follow them too."""
        before, self.parameters = self.parameters, parameters
        reseeded = parameters.seed != before.seed
        rescheduled = self._schedule_of(parameters) != self._schedule
        if reseeded:
            self._reseed(parameters.seed)
        if rescheduled:
            self._reschedule(parameters)
        if reseeded or rescheduled:
            self._replan()
        if parameters.guidance_scale != before.guidance_scale:
            self._guidance_scale.fill_(parameters.guidance_scale)
        if parameters.delta != before.delta:
            self._delta.fill_(parameters.delta)
        if self.image_prompts:
            self.image_prompts.update(parameters)

    def begin(self, *, new_frames: bool) -> bool:
        """Prepare a call: draw its noise, and take over the prompts in use.

        Returns:
            Whether outputs are due, as those of the first frames are n - 1 calls later.
        """
        if self._from_noise or (new_frames and self._model.encode_uses_noise):
            self._drawn = self.draw_noise()
        for rows in self._conditions:
            self._take_condition(rows)
        self._calls = min(self._calls + 1, self._n + 1)
        return self._calls >= self._n or not self._config.use_denoising_batch

    @property
    def steady(self) -> bool:
        """Whether the call that has begun is the same as those after it."""
        return self._calls > self._n

    @property
    def encoder_noise(self) -> Tensor | None:
        """The noise that the call's frames are encoded with; None if the encoder uses none."""
        return self._drawn if self._model.encode_uses_noise else None

    def step(self, latents: Tensor | None) -> Tensor:
        """Run the steps of a call that has begun.

        Args:
            latents: ``(f, C, h, w)`` of new frames; None to repeat the last ones. Without
                effect if images are made from noise alone.

        Returns:
            ``(f, C, h, w)``: x_0 of the oldest frames.
        """
        if latents is not None:
            self._latents = self._memory("latents", latents)
        x_t = self._first_step_input()
        if not self._config.use_denoising_batch:
            return sequential(x_t, self.plan, self.predict_noise)
        if self.in_flight is None:
            start = initial_state(x_t if self._latents is None else self._latents, self._n)
            self.in_flight = self._memory("in flight", start)
        x_0, in_flight = stream_batch(x_t, self.in_flight, self.plan, self.predict_noise)
        self.in_flight = self._memory("in flight", in_flight)
        return x_0

    def draw_noise(self) -> Tensor:
        """Return fresh noise ``(f, C, h, w)``, after the draws before."""
        # One draw a frame: f frames at a time then see what they would see one by one.
        frames = self._config.frame_buffer_size
        noise = torch.cat([self._draw(1) for _ in range(frames)])
        if self._drawn is None:
            self._drawn = torch.empty_like(noise, device=self._model.device)
        self._copy(self._drawn, noise)
        return self._drawn

    def predict_noise(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        """Run the U-Net on ``(S, f, C, h, w)``, with ``(S,)`` timesteps.

        The rows with the negative prompt come first.
        """
        total, f = x_t.shape[:2]
        positive = self._n if self._config.use_denoising_batch else 1
        rows = ((total - positive) * f, positive * f)
        if rows not in self._conditions:
            self._take_condition(rows)
        per_row = timesteps if f == 1 else timesteps.repeat_interleave(f)
        call = (x_t.flatten(0, 1), per_row, self._conditions[rows])
        steering = self._steering(rows)
        eps = (
            self._model.denoise(*call) if steering.is_off else self._model.denoise(*call, steering)
        )
        return eps.reshape(x_t.shape)

    def _steering(self, rows: tuple[int, int]) -> Steering:
        """Return what steers so many rows with the negative prompt and the prompt besides them."""
        return Steering(image_prompt=self.image_prompts(rows) if self.image_prompts else None)

    def _take_condition(self, rows: tuple[int, int]) -> None:
        """Take over the prompts in use for so many rows with the negative one and the prompt."""
        negative, positive = rows
        condition = self._conditioner(self.parameters, negative=negative, positive=positive)
        if condition is not self._taken.get(rows):
            self._taken[rows] = condition
            self._conditions[rows] = self._memory(rows, condition)

    def _first_step_input(self) -> Tensor:
        """Return the x_t that enters the first step: noised latents, or noise alone."""
        if self._from_noise:
            assert self._drawn is not None
            return self._drawn
        assert self._latents is not None
        return self.plan.add_noise(self._latents)

    def _reseed(self, seed: int) -> None:
        # The published draw: all steps at once from a CPU generator, which then goes on.
        self._generator = torch.Generator("cpu").manual_seed(seed)
        drawn = self._draw(self._n).unsqueeze(1)
        stock = torch.empty_like(drawn, device=self._model.device)
        self._copy(stock, drawn)
        added = stock
        if not self._config.do_add_noise:
            added = torch.cat([stock[:1], torch.zeros_like(stock[1:])])
        self.noise = Noise(added, stock)

    def _draw(self, rows: int) -> Tensor:
        return torch.randn((rows, *self._model.latent_shape), generator=self._generator)

    def _schedule_of(self, parameters: Parameters) -> tuple[tuple[int, ...], int]:
        return self._config.indices(parameters), parameters.num_inference_steps

    def _reschedule(self, parameters: Parameters) -> None:
        self._schedule = self._schedule_of(parameters)
        self.steps = steps_at(*self._schedule, self._model.alphas_cumprod)

    def _replan(self) -> None:
        """Make the plan of the current steps, noise and guidance."""
        plan = StepPlan(self.steps, self.noise, self._guidance, self._guidance_scale, self._delta)
        if self._fixed_plan is not None:
            self._fixed_plan.overwrite(plan)
        elif self._fixed:
            self._fixed_plan = plan
        self.plan = self._fixed_plan or plan
