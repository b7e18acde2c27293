"""How near a stage comes to itself in float32, on an engine or in less; too far is refused."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from streamcam.engines.dtypes import FLOAT8, name_of
from streamcam.engines.flat_stage import Flat, Run
from streamcam.errors import EngineError

FLOORS = {torch.float32: 80.0, torch.float16: 45.0, torch.bfloat16: 35.0, FLOAT8: 30.0}
"""The least PSNR, in dB, that an engine must reach, by the number format it computes in."""


class TooFarOff(EngineError):
    """An engine is below the floor."""


COARSE = 8
"""Side in pixels of the patches of a probe."""


def psnr(ours: Tensor, reference: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB; the peak is the range of the reference.

    It is -inf where `ours` is not finite throughout, and at most 200.
    """
    ours, reference = ours.cpu().double(), reference.cpu().double()
    if not torch.isfinite(ours).all():
        return float("-inf")
    peak = (reference.max() - reference.min()).clamp(min=1e-12)
    error = ((ours - reference) / peak).square().mean().clamp(min=1e-20)
    return float(-10 * error.log10())


def probes(inputs: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """Return inputs to judge an engine by: the first is patches under noise, the others stay.

    A stage's first input is its picture or its latents, ``(rows, C, H, W)``; in a warm-up it is
    black, which would say little.
    """
    picture, *others = inputs
    generator = torch.Generator("cpu").manual_seed(seed)
    rows, channels, height, width = picture.shape
    small = (rows, channels, -(-height // COARSE), -(-width // COARSE))
    patches = F.interpolate(torch.randn(small, generator=generator), size=(height, width))
    noise = torch.randn(picture.shape, generator=generator)
    return [(0.5 * patches + 0.5 * noise).to(picture.device, picture.dtype), *others]


def check(run: Run, flat: Flat, inputs: Sequence[Tensor], dtype: torch.dtype) -> float:
    """Return the PSNR of `run` against `flat` in float32.

    Raises:
        TooFarOff: it is below the floor of `dtype`.
    """
    given = probes(inputs)
    reached = psnr(run(*given), flat.exact()(*given))
    if reached < FLOORS[dtype]:
        raise TooFarOff(
            f"{reached:.1f} dB against float32, where {name_of(dtype)} must reach"
            f" {FLOORS[dtype]:.0f}"
        )
    return reached
