"""Accuracy of a stage on an engine or in a lower dtype, as PSNR against itself in float32."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from streamcam.engines.device_tuning import exact_float32
from streamcam.engines.dtypes import FLOAT8, name_of
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.errors import EngineError

MIN_PSNR = {torch.float32: 80.0, torch.float16: 45.0, torch.bfloat16: 35.0, FLOAT8: 30.0}
"""The least PSNR in dB that an engine must reach, by the dtype that it computes in."""
ROOM = 2
"""Times the weights in float32 that must be free on a GPU to run them there as well."""
PATCH_SIZE = 8
"""Side in pixels of the patches in a probe."""


class AccuracyError(EngineError):
    """An engine is less accurate than its dtype must be."""


def psnr(output: Tensor, reference: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB; the peak is the range of the reference.

    It is -inf where `output` is not finite throughout, and at most 200.
    """
    output, reference = output.cpu().double(), reference.cpu().double()
    if not torch.isfinite(output).all():
        return float("-inf")
    peak = (reference.max() - reference.min()).clamp(min=1e-12)
    error = ((output - reference) / peak).square().mean().clamp(min=1e-20)
    return float(-10 * error.log10())


def probe_inputs(inputs: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """Return inputs to measure accuracy with: the first is patches under noise, the rest stay.

    A stage's first input is its image or its latents, ``(rows, C, H, W)``; in a warm-up it is
    black, which would measure little.
    """
    image, *rest = inputs
    generator = torch.Generator("cpu").manual_seed(seed)
    rows, channels, height, width = image.shape
    small = (rows, channels, -(-height // PATCH_SIZE), -(-width // PATCH_SIZE))
    patches = F.interpolate(torch.randn(small, generator=generator), size=(height, width))
    noise = torch.randn(image.shape, generator=generator)
    return [(0.5 * patches + 0.5 * noise).to(image.device, image.dtype), *rest]


def check_accuracy(
    run: FlatForward, flat: FlatStage, inputs: Sequence[Tensor], dtype: torch.dtype
) -> float:
    """Return the PSNR in dB of `run` against `flat` in float32.

    Raises:
        AccuracyError: it is below the minimum of `dtype`.
    """
    probe = probe_inputs(inputs)
    with exact_float32():
        reference = float32_reference(flat, probe[0].device)(*probe)
    if not torch.isfinite(reference).all():
        raise AccuracyError("the stage itself gives values that are no numbers, even in float32")
    reached = psnr(run(*probe), reference)
    if reached < MIN_PSNR[dtype]:
        raise AccuracyError(
            f"{reached:.1f} dB against float32, where {name_of(dtype)} must reach"
            f" {MIN_PSNR[dtype]:.0f}"
        )
    return reached


def float32_reference(flat: FlatStage, device: torch.device) -> FlatForward:
    """Return `flat` in float32: on the CPU where a GPU's free memory would be short of a copy.

    A stream may be running there, which a full GPU would end.
    """
    needed = sum(weight.numel() * torch.float32.itemsize for weight in flat.parameters())
    if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] < ROOM * needed:
        return flat.in_float32_on_cpu()
    return flat.in_float32()
