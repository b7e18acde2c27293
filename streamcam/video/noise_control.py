"""Motion-aware noise controller (arXiv 2511.07399): the faster things move, the less noise.

Plain functions: the state of a stream is its last `NoiseLevel`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import cv2

from streamcam.types import Image

if TYPE_CHECKING:
    from torch import Tensor

    from streamcam.video.flow_matching import Steps


@dataclass(frozen=True, slots=True)
class NoiseControl:
    """Parameters of the controller; the defaults are those of the published code."""

    noise_scale: float = 0.8
    """Fraction of noise where nothing moves, 0 to 1 (s_max in the paper)."""
    noise_range: float = 0.1
    """Reduction of the noise scale at full motion (s_max - s_min)."""
    full_motion: float = 0.2
    """Difference between frames that counts as full motion (sigma in the paper)."""
    smoothing: float = 0.1
    """Weight of the previous noise scale in the next one (1 - lambda), 0 to below 1."""
    window: int = 0
    """Number of latest differences that count (k in the paper); at least those of the chunk."""
    timestep_lag: int = 100
    """Thousandths by which the timestep is below the noise that is added; 0 for exact timesteps."""


PIXEL = NoiseControl()
"""The published code: differences of pixels in [-1, 1], in one chunk."""
LATENT = NoiseControl(full_motion=0.4, window=8)
"""The paper: differences of latents of unit variance, over the last 8. Full motion has the same
ratio to their standard deviation as the published 0.2 has to that of pixels."""
CONTROLS = {"pixel": PIXEL, "latent": LATENT}
NEAR_STEP = 10
"""Thousandths within which a strength means the step next to it."""


class NoiseLevel(NamedTuple):
    """Noise of a chunk: its clean latents z become x = s·eps + (1 - s)·z."""

    noise_scale: float
    """s, 0 to 1."""
    timestep: float
    """Timestep of the first denoising step, 1 to 1000."""
    recent: tuple[float, ...] = ()
    """Past differences that the window still holds."""


def pixel_differences(frames: Sequence[Image]) -> list[float]:
    """Return the root mean square difference of each frame to the one before.

    Args:
        frames: F frames ``(H, W, 3)`` uint8, beginning with the last of the previous chunk.

    Returns:
        F - 1 differences of the frames in [-1, 1], so 0 to 2.
    """
    return [cv2.norm(a, b, cv2.NORM_L2) / a.size**0.5 / 127.5 for a, b in pairwise(frames)]


def rms_differences(latents: "Tensor") -> "Tensor":
    """Return the root mean square difference of each latent frame to the one before.

    Args:
        latents: ``(F, C, h, w)``, normalised, beginning with the last of the previous chunk.

    Returns:
        ``(F - 1,)`` float32, on the device: reading it waits for the encoder.
    """
    return latents.float().diff(dim=0).square().mean(dim=(1, 2, 3)).sqrt()


def initial_level(control: NoiseControl, timestep: float) -> NoiseLevel:
    """Return the noise level of a stream's first chunk, which enters at the first timestep."""
    return NoiseLevel(control.noise_scale, timestep)


def scheduled_level(steps: "Steps", strength: float | None, *, lowest: float = 1.0) -> NoiseLevel:
    """Return the noise level at which `strength` enters the schedule, with its own timestep.

    A strength close to a step enters at that step, which the model was trained on.

    Args:
        steps: denoising steps.
        strength: share of noise, 0 to 1; None for that of the first step.
        lowest: timestep below which a chunk does not enter.
    """
    timestep = steps.timesteps[0] if strength is None else max(1000 * strength, lowest)
    near = min(steps.timesteps, key=lambda step: abs(step - timestep))
    timestep = near if abs(near - timestep) <= NEAR_STEP else timestep
    return NoiseLevel(steps.sigma(timestep), timestep)


def next_level(
    control: NoiseControl,
    previous: NoiseLevel,
    differences: Sequence[float],
    *,
    second_step: float = 0,
) -> NoiseLevel:
    """Return the noise level of the next chunk.

    Args:
        control: parameters.
        previous: noise level of the previous chunk.
        differences: of each frame of the chunk from the one before it.
        second_step: timestep of the second denoising step, 0 where there is none; the first
            timestep stays above it, however fast things move.
    """
    history = (*previous.recent, *differences)
    recent = history[-max(control.window, len(differences)) :]
    motion = min(max(recent, default=0.0) / control.full_motion, 1.0)
    target = max(control.noise_scale - control.noise_range * motion, 0.0)
    scale = (1 - control.smoothing) * target + control.smoothing * previous.noise_scale
    timestep = int(1000 * scale) - control.timestep_lag
    remembered = recent[-control.window :] if control.window else ()
    return NoiseLevel(scale, max(timestep, second_step + 1), remembered)
