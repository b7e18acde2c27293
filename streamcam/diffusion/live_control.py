"""ControlNets of a stream, from call to call: their images in flight, and how strong each is."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamcam.diffusion.control_maps import control_map
from streamcam.diffusion.control_stages import HOST_PREPROCESSORS, ControlStages
from streamcam.diffusion.second_source import OpenSecond, SecondSource, open_for_render
from streamcam.diffusion.steering import Steering
from streamcam.engines.fixed_memory import FixedMemory
from streamcam.pixels import fitted, oriented
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Image

Copy = Callable[[Tensor, Tensor], object]
"""Copies a CPU tensor into one on the model's device, without waiting."""


class LiveControl:
    """Show every ControlNet its images, and steer the U-Net by what they predict.

    An image goes with its frame through Stream Batch: row i of the images belongs to the frames
    that entered i calls ago. Of a T2I-Adapter, which reads nothing else, its features do.

    Args:
        controls: the ControlNets.
        config: the settings that are fixed at start.
        device: that of the model.
        copy: see `Copy`.
        fixed: whether calls are recorded, so that their memory must stay where it is.
        open_second: opens second sources, once their first image is wanted.
    """

    def __init__(
        self,
        controls: Sequence[ControlStages],
        config: Config,
        device: torch.device,
        copy: Copy,
        *,
        fixed: bool,
        open_second: OpenSecond = open_for_render,
    ) -> None:
        self._open_second = open_second
        self._second: dict[str, SecondSource] = {}
        self._is_warming_up = False
        self._controls = list(controls)
        self._config = config
        self._copy = copy
        self._fixed = fixed
        self._memory = FixedMemory(fixed=fixed)
        self._device = device
        self._is_batch = config.use_denoising_batch
        self._rows = config.num_steps if self._is_batch else 1
        self._zeros: dict[tuple[bool, int], Tensor] = {}
        self._scales: Tensor | None = None
        self._raw: dict[str, Tensor] = {}
        self.reset(config.live)

    @property
    def needs_batch(self) -> bool:
        """Whether frames must be uploaded for a ControlNet, whatever the model starts from."""
        return any(control.is_shown_batch for control in self._controls)

    @property
    def follows_camera(self) -> bool:
        """Whether outputs depend on the camera's frames alone."""
        return not any(control.shown.source for control in self._controls)

    def warm_up_parameters(self, parameters: Parameters) -> Parameters:
        """Return `parameters` with every ControlNet on, so that all that may run has run.

        Until `reset`, second sources are not opened.
        """
        self._is_warming_up = True
        names = [control.name for control in self._controls]
        ones, zeros = dict.fromkeys(names, 1.0), dict.fromkeys(names, 0.0)
        return parameters.changed(
            {"controlnet_scale": ones, "controlnet_start": zeros, "controlnet_end": ones}
        )

    def reset(self, parameters: Parameters) -> None:
        """Assign all state: nothing is in flight."""
        self._in_flight: dict[str, Tensor] = {}
        self._newest: dict[str, Tensor] = {}
        self._drawn: dict[str, Tensor] = {}
        """What T2I-Adapters were shown: of them `_newest` holds the features."""
        self._gathered: dict[str, list[Image]] = {c.name: [] for c in self._controls}
        self._new_frames = False
        self._single_step = 0
        self._is_warming_up = False
        self.steady = False
        """Whether the call that has begun is the same as the one after it."""
        self.update(parameters)

    def update(self, parameters: Parameters) -> None:
        """Run with `parameters` from the next call on."""
        self._parameters = parameters
        numbers = [
            dict(numbers)
            for numbers in (
                parameters.controlnet_scale,
                parameters.controlnet_start,
                parameters.controlnet_end,
            )
        ]
        n = self._config.num_steps
        self._step_scales = [
            step_scales(n, *(number[control.name] for number in numbers))
            for control in self._controls
        ]
        self._scales = None
        self._active = [
            control
            for control, scales in zip(self._controls, self._step_scales, strict=True)
            if any(scales)
        ]
        # Those that are off see no frames: when one is on again, it begins at rest.
        active = {control.name for control in self._active}
        for name in [name for name in self._in_flight if name not in active]:
            del self._in_flight[name]

    @property
    def structure(self) -> object:
        """Value that differs between calls that run other models: each is recorded for itself."""
        if self._is_batch:
            return tuple(control.name for control in self._active)
        return tuple(tuple(map(bool, scales)) for scales in self._step_scales)

    def add(self, image: Image) -> None:
        """Take a frame of the next call, as it is prepared for the model."""
        config = self._config
        for control in self._active:
            if control.is_shown_batch:
                continue
            shown = self._second_image(control) if control.shown.source else image
            small = fitted(shown, config.width, config.height, config.fit)
            if control.shown.preprocessor in HOST_PREPROCESSORS:
                small = control_map(control.shown.preprocessor, small, self._parameters)
            self._gathered[control.name].append(small)

    @property
    def notice(self) -> str:
        """A line on second sources that give no new images; empty if all do."""
        return "; ".join(filter(None, (source.problem for source in self._second.values())))

    def _second_image(self, control: ControlStages) -> Image:
        spec, image = control.shown.source, None
        if not self._is_warming_up:
            if spec not in self._second:
                self._second[spec] = self._open_second(spec, self._config.broadcast)
            image = self._second[spec].next_image()
        if image is None:
            return np.zeros((self._config.height, self._config.width, 3), np.uint8)
        rotate, mirror = self._parameters.rotate, self._parameters.mirror
        return oriented(image, rotate, mirror=mirror)

    def begin(self, *, new_frames: bool) -> None:
        """Begin a call: upload what was made of its frames on the CPU; without any, repeat."""
        self._new_frames = new_frames
        self.steady = all(control.name in self._in_flight for control in self._active)
        if self._scales is None:
            scales = torch.tensor(self._step_scales)
            self._scales = self._memory("scales", self._uploaded("scales", scales))
        for control in self._active:
            if images := self._gathered[control.name]:
                missing = self._config.frame_buffer_size - len(images)
                batch = torch.from_numpy(np.stack(images + images[-1:] * missing))
                self._raw[control.name] = self._uploaded(control.name, batch)
        for images in self._gathered.values():
            images.clear()

    def _uploaded(self, name: str, values: Tensor) -> Tensor:
        if self._device.type == "cpu" and not self._fixed:
            return values
        target = self._raw.setdefault(name, torch.empty_like(values, device=self._device))
        self._copy(target, values)
        return target

    def advance(self, batch: Tensor | None) -> None:
        """Let the images of a call that has begun enter the first row, and the others move on.

        Args:
            batch: the frames ``(f, 3, H, W)`` in [-1, 1] on the device, where they are uploaded.
        """
        self._single_step = 0
        for control in self._active:
            name = control.name
            if self._new_frames or name not in self._newest:
                new = self._shown(control, batch)
                self._newest[name] = self._memory((name, "newest"), new)
            newest = self._newest[name].unsqueeze(0)
            before = self._in_flight.get(name)
            if before is None:
                rows = newest.expand(self._rows, *newest.shape[1:]).contiguous()
            else:
                rows = torch.cat([newest, before[:-1]])
            self._in_flight[name] = self._memory((name, "in flight"), rows)

    def _shown(self, control: ControlStages, batch: Tensor | None) -> Tensor:
        """Return what a ControlNet is shown, ``(f, 3, H, W)`` in [0, 1], or an adapter's features.

        Both of the frames that are new.
        """
        if control.is_shown_batch:
            assert batch is not None
            images = batch
        else:
            images = self._raw[control.name].permute(0, 3, 1, 2).float() / 255
            images = images * 2 - 1 if control.preprocess else images
        if control.preprocess:
            images = control.preprocess(images)
        elif control.is_shown_batch:
            images = (images + 1) / 2
        if control.is_adapter:
            self._newest_image(control, images)
            return control.predict(images)
        return images

    def _newest_image(self, control: ControlStages, images: Tensor) -> None:
        name = control.name
        self._drawn[name] = self._memory((name, "drawn"), images[-1:])

    @torch.inference_mode()
    def image(self) -> Image | None:
        """Return the newest images that are shown, side by side; None while there are none."""
        drawn = [
            self._drawn[c.name] if c.is_adapter else self._newest[c.name][-1:]
            for c in self._active
            if c.name in self._newest
        ]
        if not drawn:
            return None
        levels = (torch.cat(drawn, dim=3)[0].clamp(0, 1) * 255).round().byte()
        shown: Image = levels.permute(1, 2, 0).contiguous().cpu().numpy()
        return shown

    def steer(self, steering: Steering, call: tuple[Any, ...], negative: int) -> Steering:
        """Return `steering` with the residuals for a U-Net call.

        Args:
            steering: what else steers it.
            call: its x_t ``(rows, C, h, w)``, timesteps and condition.
            negative: the number of rows with the negative prompt, the first ones.
        """
        totals: dict[bool, Tensor] = {}
        for control, scales in self._in_call():
            residuals = self._residuals(control, scales, call, negative)
            kind = control.is_adapter
            totals[kind] = residuals if kind not in totals else totals[kind] + residuals
        self._single_step += 1
        for control in self._controls:
            # Where all of a kind are off, engines stay the same; made while a call is recorded it
            # would lie in the memory of that.
            nothing = self._nothing(control, call[0])
            totals.setdefault(control.is_adapter, nothing)
        return steering._replace(controlnets=totals.get(False), adapters=totals.get(True))

    def _in_call(self) -> Iterator[tuple[ControlStages, Tensor]]:
        """Yield what is on in the U-Net call that comes, with its scale for each step ``(S,)``."""
        assert self._scales is not None
        step = self._single_step
        for control, values, scales in zip(
            self._controls, self._step_scales, self._scales, strict=True
        ):
            if self._is_batch and any(values):
                yield control, scales
            elif not self._is_batch and values[step]:
                yield control, scales[step : step + 1]

    def _residuals(
        self, control: ControlStages, scales: Tensor, call: tuple[Any, ...], negative: int
    ) -> Tensor:
        f = self._config.frame_buffer_size
        shown = _with_negative(self._in_flight[control.name], negative // f).flatten(0, 1)
        factors = _with_negative(scales, negative // f).repeat_interleave(f).unsqueeze(1)
        residuals = shown if control.is_adapter else control.predict(*call, shown)
        return residuals * factors.to(residuals.dtype)

    def _nothing(self, control: ControlStages, x_t: Tensor) -> Tensor:
        key = (control.is_adapter, len(x_t))
        if key not in self._zeros:
            shape = (len(x_t), control.values)
            self._zeros[key] = torch.zeros(shape, dtype=control.dtype, device=x_t.device)
        return self._zeros[key]


def step_scales(n: int, scale: float, start: float, end: float) -> list[float]:
    """Return the scale at each of n steps: 0 before `start` and after `end`, as shares of them.

    As diffusers' ``control_guidance_start`` and ``control_guidance_end``.
    """
    return [0.0 if i / n < start or (i + 1) / n > end else scale for i in range(n)]


def _with_negative(steps: Tensor, negative: int) -> Tensor:
    """Return a row for each step, after those for the steps with the negative prompt."""
    return torch.cat([steps[:negative], steps]) if negative else steps
