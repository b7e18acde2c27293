"""Sampler of a stream: the state of Stream Batch from call to call, latents in, x_0 out."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.image_prompts import ImagePrompts
from streamcam.diffusion.live_control import LiveControl
from streamcam.diffusion.live_loras import ScaleTensor
from streamcam.diffusion.noise_shift import NoiseShift
from streamcam.diffusion.regions import Regions
from streamcam.diffusion.scene_change import SceneChange
from streamcam.diffusion.schedule import signal_and_noise, steps_at
from streamcam.diffusion.second_source import OpenSecond, open_for_render
from streamcam.diffusion.stages import Condition
from streamcam.diffusion.steering import Steering, unpacked
from streamcam.diffusion.stream_batch import (
    AfterStep,
    InFlight,
    Noise,
    StepPlan,
    initial_state,
    sequential,
    stream_batch,
    unchanged,
)
from streamcam.diffusion.temporal_memory import TemporalMemory
from streamcam.engines.fixed_memory import FixedMemory
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters

NO_REGIONS = (
    "strength_person and strength_background have no effect: start with --set region_mask=person"
)


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
        open_second: opens second sources for ControlNets.
    """

    def __init__(
        self,
        model: ImageModel,
        config: Config,
        copy: Callable[[Tensor, Tensor], object],
        *,
        fixed: bool = False,
        open_second: OpenSecond = open_for_render,
    ) -> None:
        self._model = model
        self._config = config
        self._copy = copy
        self._n = config.num_steps
        self._guidance = GUIDANCE[config.cfg_type]
        # Residual guidance is made of noise, so it needs eps.
        velocity = model.sampling.predicts_velocity and not self._guidance.residual
        self._sampling = model.sampling._replace(predicts_velocity=velocity)
        self._to_eps = model.sampling.predicts_velocity and not velocity
        self._from_noise = config.mode == "txt2img"
        self._lora_scales = ScaleTensor(model.loras, copy, fixed=fixed)
        self._conditioner = Conditioner(model, self._lora_scales)
        self.control = (
            LiveControl(
                model.controls, config, model.device, copy, fixed=fixed, open_second=open_second
            )
            if model.controls
            else None
        )
        self._memory = FixedMemory(fixed=fixed)
        self._conditions: dict[tuple[int, int], Condition] = {}
        self._taken: dict[tuple[int, int], Condition] = {}
        self._drawn: Tensor | None = None
        # Tensors, so that a recorded call reads their newest values.
        numbers = torch.zeros(3, device=model.device)
        self._guidance_scale, self._delta, self._rescale = numbers.unbind()
        find = model.region_mask
        self._regions = Regions(config, find, model.device, self._memory, copy) if find else None
        self._noise_shift = NoiseShift(self._n, batch=config.use_denoising_batch)
        self._temporal: TemporalMemory | None = None
        if model.memory_values:
            self._temporal = TemporalMemory(
                model.memory_values,
                self._n,
                config.frame_buffer_size,
                model.device,
                self._memory,
                copy,
            )
        self._fixed = fixed
        self._fixed_plans: dict[bool, StepPlan] = {}
        self.image_prompts: ImagePrompts | None = None
        if model.image_prompts:
            self.image_prompts = ImagePrompts(
                model.image_prompts, config.live, self._memory, model.device
            )
        self.reset(config.live)

    def reset(self, parameters: Parameters) -> None:
        """Assign all state: nothing is in flight."""
        self.parameters = parameters
        self._noise_shift.reset()
        self._guidance_scale.fill_(parameters.guidance_scale)
        self._delta.fill_(parameters.delta)
        self._rescale.fill_(parameters.guidance_rescale)
        self._lora_scales.update(parameters)
        self._reseed(parameters.seed)
        self._reschedule(parameters)
        self._replan()
        if self.image_prompts:
            self.image_prompts.update(parameters)
        self.in_flight: InFlight | None = None
        self._latents: Tensor | None = None
        if self.control:
            self.control.reset(parameters)
        self._calls = 0
        if self._regions is not None:
            self._regions.reset(parameters)
        if self._temporal is not None:
            self._temporal.reset()

    def prepare(self, parameters: Parameters) -> None:
        """Encode the texts of `parameters` before they are used.

        Raises:
            PromptError: a text cannot be encoded; nothing has changed.
        """
        self._conditioner.prepare(parameters, negative=self._guidance.negative_rows(self._n) > 0)

    @property
    def notice(self) -> str:
        """The part of the values in use that has no effect, in one line; empty if all has."""
        parameters = self.parameters
        given = (parameters.strength_person, parameters.strength_background)
        lines = [self._conditioner.notice, self.control.notice if self.control else ""]
        if self.image_prompts:
            lines.append(self.image_prompts.notice)
        if self._regions is None and given != (None, None):
            lines.append(NO_REGIONS)
        return "; ".join(filter(None, lines))

    def update(self, parameters: Parameters) -> None:
        """Run with `parameters` from the next call on; latents in flight follow them too."""
        before, self.parameters = self.parameters, parameters
        self._lora_scales.update(parameters)
        reseeded = parameters.seed != before.seed
        rescheduled = self._schedule_of(parameters) != self._schedule
        if reseeded:
            self._reseed(parameters.seed)
        if rescheduled:
            self._reschedule(parameters)
        if reseeded or rescheduled or self._rescales != (self.plan.guidance_rescale is not None):
            self._replan()
        if parameters.guidance_scale != before.guidance_scale:
            self._guidance_scale.fill_(parameters.guidance_scale)
        if parameters.delta != before.delta:
            self._delta.fill_(parameters.delta)
        if parameters.guidance_rescale != before.guidance_rescale:
            self._rescale.fill_(parameters.guidance_rescale)
        if self._regions is not None:
            self._regions.update(parameters)
        if self.control:
            self.control.update(parameters)
        if self.image_prompts:
            self.image_prompts.update(parameters)

    def begin(self, *, new_frames: bool, changes: Sequence[SceneChange] = ()) -> bool:
        """Prepare a call: draw its noise, and take over the prompts in use.

        Args:
            new_frames: whether frames come in.
            changes: how the scene of each of them differs from the one before, if that is known.

        Returns:
            Whether outputs are due, as those of the first frames are n - 1 calls later.
        """
        self._follow(changes)
        if self._from_noise or (new_frames and self._model.encode_uses_noise):
            self._drawn = self.draw_noise()
        if self._temporal is not None:
            self._temporal.begin(self.parameters, cut=any(change.is_cut for change in changes))
        for rows in self._conditions:
            self._take_condition(rows)
        if self.control:
            self.control.begin(new_frames=new_frames)
        self._calls = min(self._calls + 1, self._n + 1)
        return self._calls >= self._n or not self._config.use_denoising_batch

    @property
    def steady(self) -> bool:
        """Whether the call that has begun is the same as those after it."""
        return self._calls > self._n and (self.control is None or self.control.steady)

    @property
    def structure(self) -> object:
        """Value that differs between calls that run other models."""
        return self._rescales, self.control.structure if self.control else None

    @property
    def _rescales(self) -> bool:
        """Whether estimates are given the statistics that they have without guidance."""
        return self.parameters.guidance_rescale > 0 and self._config.cfg_type != "none"

    @property
    def encoder_noise(self) -> Tensor | None:
        """The noise that the call's frames are encoded with; None if the encoder uses none."""
        return self._drawn if self._model.encode_uses_noise else None

    def look(self, images: Tensor) -> None:
        """Find the regions of new frames ``(f, 3, H, W)``, before the step that they enter."""
        if self._regions is not None:
            self._regions.look(images)

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
        if self._temporal is not None:
            self._temporal.begin_steps()
        x_t = self._first_step_input()
        if not self._config.use_denoising_batch:
            return sequential(x_t, self.plan, self.predict_noise, self._after_step())
        if self.in_flight is None:
            keeps_eps = self.plan.steps.eps_share is not None
            eps = self.noise.stock[1:] if keeps_eps else None
            start = initial_state(x_t if self._latents is None else self._latents, self._n, eps)
            self.in_flight = self._memory("in flight", start)
        x_0, in_flight = stream_batch(x_t, self.in_flight, self.plan, self.predict_noise)
        if self._regions is not None and self._latents is not None:
            x_0, in_flight = self._regions.after_call(x_0, in_flight, self._latents)
        self.in_flight = self._memory("in flight", in_flight)
        return x_0

    def _after_step(self) -> AfterStep:
        if self._regions is None or self._latents is None:
            return unchanged
        return partial(self._regions.after_step, latents=self._latents)

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
        """Return the noise in ``(S, f, C, h, w)`` by the U-Net, with ``(S,)`` timesteps.

        The rows with the negative prompt come first. Where `Steps.predicts_velocity` is true, it
        returns the velocity.
        """
        total, f = x_t.shape[:2]
        positive = self._n if self._config.use_denoising_batch else 1
        rows = ((total - positive) * f, positive * f)
        if rows not in self._conditions:
            self._take_condition(rows)
        per_row = timesteps if f == 1 else timesteps.repeat_interleave(f)
        flat = x_t.flatten(0, 1)
        call, steering = (flat, per_row, self._conditions[rows]), self._steering(total, rows)
        if self.control:
            steering = self.control.steer(steering, call, rows[0])
        predicted = (
            self._model.denoise(*call) if steering.is_off else self._model.denoise(*call, steering)
        )
        if self._temporal is not None:
            predicted, left = unpacked(predicted, flat.shape)
            self._temporal.store(left)
        if self._to_eps:
            alpha, beta = signal_and_noise(per_row, self._model.alphas_cumprod)
            predicted = alpha * predicted + beta * flat
        return predicted.reshape(x_t.shape)

    def _steering(self, total: int, rows: tuple[int, int]) -> Steering:
        """Return what steers the U-Net in a call besides the prompts.

        Args:
            total: rows of steps, those with the negative prompt included.
            rows: rows of the call with the negative prompt, and with the prompt.
        """
        temporal, batch = self._temporal, self._config.use_denoising_batch
        return Steering(
            lora_scales=self._lora_scales.tensor,
            memory=None if temporal is None else temporal.inputs(total, batch=batch),
            image_prompt=self.image_prompts(rows) if self.image_prompts else None,
        )

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
            # Euler's scheduler begins with noise alone too, in the scale of the timestep.
            euler = self._sampling.sampler.startswith("euler")
            return self._drawn * self.plan.steps.beta[0] if euler else self._drawn
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

    def _follow(self, changes: Sequence[SceneChange]) -> None:
        """Move the noise with the scene of the frames that come in, where it follows."""
        if self.parameters.noise_follow:
            self._noise_shift.begin([change.shift for change in changes])
        elif not self._noise_shift.is_at_rest:
            self._noise_shift.reset()
        else:
            return
        self._replan()

    def _draw(self, rows: int) -> Tensor:
        return torch.randn((rows, *self._model.latent_shape), generator=self._generator)

    def _schedule_of(self, parameters: Parameters) -> tuple[tuple[int, ...], int, float]:
        eta = parameters.eta if self._sampling.sampler == "tcd" else 0.0
        return self._config.indices(parameters), parameters.num_inference_steps, eta

    def _reschedule(self, parameters: Parameters) -> None:
        self._schedule = self._schedule_of(parameters)
        indices, count, eta = self._schedule
        self.steps = steps_at(indices, count, self._model.alphas_cumprod, self._sampling, eta)

    def _replan(self) -> None:
        """Make the plan of the current steps, noise and guidance."""
        noise = self._noise_shift(self.noise)
        rescale = self._rescale if self._rescales else None
        plan = StepPlan(
            self.steps, noise, self._guidance, self._guidance_scale, self._delta, rescale
        )
        # Calls are recorded with each of the two.
        if fixed := self._fixed_plans.get(self._rescales):
            fixed.overwrite(plan)
        elif self._fixed:
            self._fixed_plans[self._rescales] = plan
        self.plan = fixed or plan
