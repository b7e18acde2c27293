"""Strength by region: each pixel of the latents goes as far from the camera as its own strength.

A mask m is 1 where the person is and 0 in the background, so that a pixel's strength is
s = m s_person + (1 - m) s_background. The steps are those of the larger of both, S. As in
Differential Diffusion (arXiv 2306.00950) a pixel joins at the step that its strength begins at, and
is the camera's until then. With few steps these borders would be seen, so it fades in between them:
after step i the estimate x_0 becomes

    z + g_i (x_0 - z),   g_i = clamp((s - sigma_{i+1}) / (sigma_i - sigma_{i+1}), 0, 1)

with the camera's latents z, and sigma_i, the strength that begins at step i: S at the first step, 0
after the last. So s = 0 gives the camera's latents and s = S the model's.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from streamcam.diffusion.stream_batch import InFlight
from streamcam.engines.fixed_memory import FixedMemory
from streamcam.frames.image_tensors import fitted_lanczos
from streamcam.frames.resize import weights
from streamcam.geometry import Size, fit_axes
from streamcam.models.person_mask import PersonMask, input_size, load_person_mask
from streamcam.models.region_picture import region_picture
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters

RegionMask = Callable[[Tensor], Tensor]
"""Images ``(f, 3, H, W)`` in [-1, 1] to masks ``(f, 1, h, w)`` in [0, 1], of the latents' size."""
PERSON = "person"
FOLLOW = 0.5
"""Share of a new mask in the one that is used: edges stay steady, and follow within some frames."""
MARGIN = 1 - 1e-6
"""Keeps rounding from leaving a trace of the camera where the strength is the largest."""


class Segment(nn.Module):
    """Find people in images: a stage, which runs on engines as any other; see `RegionMask`."""

    def __init__(self, network: PersonMask, size: Size, latent_size: Size) -> None:
        super().__init__()
        self.network = network
        self.in_x: Tensor
        self.in_y: Tensor
        self.out_x: Tensor
        self.out_y: Tensor
        inner = input_size(*size)
        for name, source, target in (("in", size, inner), ("out", inner, latent_size)):
            for axis, matrix in zip(("x", "y"), _matrices(source, target), strict=True):
                self.register_buffer(f"{name}_{axis}", matrix, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        dtype = self.network.stem.weight.dtype
        resized = (self.in_y @ images.float() @ self.in_x.T).clamp(-1, 1)
        mask = self.network(((resized + 1) / 2).to(dtype)).float()
        mask = (self.out_y @ mask @ self.out_x.T).clamp(0, 1)
        # A soft edge, about as wide as what a latent pixel covers.
        return functional.avg_pool2d(mask, 3, 1, 1, count_include_pad=False)


def _matrices(source: Size, target: Size) -> tuple[Tensor, Tensor]:
    """Return what resizes across ``(W', W)`` and down ``(H', H)``."""
    across, down = fit_axes(source, target, "stretch")
    return (
        torch.from_numpy(weights(source[0], target[0], across)),
        torch.from_numpy(weights(source[1], target[1], down)),
    )


def person_stage(
    config: Config, latent_shape: tuple[int, int, int], device: torch.device, dtype: torch.dtype
) -> Segment:
    """Return the stage that finds people in the images of `config`."""
    network = load_person_mask().to(dtype)
    _, height, width = latent_shape
    return Segment(network, (config.width, config.height), (width, height)).to(device).eval()


def picture_mask(
    config: Config, latent_shape: tuple[int, int, int], device: torch.device
) -> RegionMask:
    """Return the mask that the picture `region_mask` holds, fitted as camera frames are.

    Raises:
        ModelError: it cannot be read.
    """
    levels = region_picture(config.region_mask)
    image = np.repeat(levels[..., None], 3, axis=2)
    fitted = fitted_lanczos(image, config.width, config.height, config.fit)[..., 0]
    _, height, width = latent_shape
    across, down = _matrices((config.width, config.height), (width, height))
    plane = torch.from_numpy(fitted.astype(np.float32) / 255)
    mask = (down @ plane @ across.T).clamp(0, 1).to(device)[None, None]
    return lambda images: mask.expand(len(images), -1, -1, -1)


class Regions:
    """The masks and the cameras' latents of the frames in flight, and the strengths in use.

    Everything that changes is a tensor: a recorded call reads the newest.

    Args:
        config: the number of steps.
        find: makes the masks.
        device: of the latents.
        memory: keeps what persists between calls.
        copy: copies a CPU tensor into one on the device, without waiting.
    """

    def __init__(
        self,
        config: Config,
        find: RegionMask,
        device: torch.device,
        memory: FixedMemory,
        copy: Callable[[Tensor, Tensor], object],
    ) -> None:
        self._config = config
        self._find = find
        self._memory = memory
        self._copy = copy
        self._values: tuple[float, ...] = ()
        self._strengths = torch.ones(2, device=device)
        self._lower = torch.zeros(config.num_steps, 1, 1, 1, 1, device=device)
        self._width = torch.ones_like(self._lower)
        self.reset(config.live)

    def reset(self, parameters: Parameters) -> None:
        """Assign all state: no frame has been seen."""
        self._last: Tensor | None = None
        self._new: Tensor | None = None
        self._masks: Tensor | None = None
        self._sources: Tensor | None = None
        self.update(parameters)

    def update(self, parameters: Parameters) -> None:
        """Run with the strengths of `parameters` from the next call on."""
        config = self._config
        person, background = config.region_strengths(parameters) or (1.0, 1.0)
        levels = config.region_levels(parameters)
        below = [*levels[1:], 0.0]
        widths = [(a - b) * MARGIN or 1.0 for a, b in zip(levels, below, strict=True)]
        values = (person, background, *below, *widths)
        if values != self._values:
            self._values = values
            for target, new in (
                (self._strengths, [person, background]),
                (self._lower, below),
                (self._width, widths),
            ):
                self._copy(target, torch.tensor(new).reshape(target.shape))

    def look(self, images: Tensor) -> None:
        """Find the masks of new frames ``(f, 3, H, W)``."""
        masks = []
        last = self._last
        for found in torch.split(self._find(images), 1):
            last = found if last is None else torch.lerp(last, found, FOLLOW)
            masks.append(last)
        self._last = self._memory("last mask", last)
        self._new = self._memory("new masks", torch.cat(masks))

    def after_step(self, step: int, state: InFlight, latents: Tensor) -> InFlight:
        """Return the estimates ``(1, f, C, h, w)`` after one step of the newest frames."""
        assert self._new is not None
        gate = self._gates(self._new.unsqueeze(0))[step : step + 1]
        return _blended(state, latents, gate)

    def after_call(self, x_0: Tensor, state: InFlight, latents: Tensor) -> tuple[Tensor, InFlight]:
        """Return what `stream_batch` gave, with the camera's latents where a pixel is theirs.

        Args:
            x_0: ``(f, C, h, w)`` of the oldest frames.
            state: the frames in flight.
            latents: ``(f, C, h, w)`` of the newest frames.
        """
        assert self._new is not None
        n = self._config.num_steps
        self._sources = self._memory("sources", _pushed(self._sources, latents, n))
        self._masks = self._memory("masks", _pushed(self._masks, self._new, n))
        gates = self._gates(self._masks)
        flying = _blended(state, self._sources[:-1], gates[:-1]) if n > 1 else state
        return torch.lerp(self._sources[-1], x_0, gates[-1]), flying

    def _gates(self, masks: Tensor) -> Tensor:
        """Return g ``(n, f, 1, h, w)`` for masks of that shape, or of one row."""
        person, background = self._strengths
        strength = torch.lerp(background, person, masks)
        return ((strength - self._lower) / self._width).clamp(0, 1)


def _blended(state: InFlight, sources: Tensor, gates: Tensor) -> InFlight:
    # What guidance believes to have moved is moved by as much less.
    x_0 = torch.lerp(sources, state.x_0, gates)
    return state._replace(x_0=x_0, residual=state.residual * gates)


def _pushed(rows: Tensor | None, new: Tensor, count: int) -> Tensor:
    """Return `count` rows, the new one first; a stream begins as if it had always been there."""
    if rows is None:
        return new.expand(count, *new.shape).contiguous()
    return torch.cat([new.unsqueeze(0), rows[:-1]])
