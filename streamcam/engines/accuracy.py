"""Accuracy of a stage on an engine or in a lower dtype, as PSNR against itself in float32."""

from collections.abc import Sequence
from math import log10

import torch
import torch.nn.functional as F
from torch import Tensor

from streamcam.engines.device_tuning import exact_float32
from streamcam.engines.dtypes import FLOAT8, INT8, name_of
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.errors import EngineError

MIN_PSNR = {
    torch.float32: 80.0,
    torch.float16: 45.0,
    torch.bfloat16: 35.0,
    FLOAT8: 30.0,
    INT8: 20.0,
}
"""The least PSNR in dB that an engine must reach, by the dtype that it computes in."""
MIN_IMAGE_PSNR = 28.0
"""The least PSNR in dB of the final images where stages compute in int8."""
ROOM = 2
"""Times the weights in float32 that must be free on a GPU to run them there as well."""
PATCH_SIZE = 8
"""Side in pixels of the patches in a probe."""


class EngineRefusedError(EngineError):
    """An engine could be built, and is not to be used."""


class AccuracyError(EngineRefusedError):
    """An engine is less accurate than its dtype must be."""


def psnr(output: Tensor, reference: Tensor, peak: float | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB; by default the peak is the reference's range.

    It is -inf where `output` is not finite throughout, and at most 200.
    """
    output, reference = output.cpu().double(), reference.cpu().double()
    if not torch.isfinite(output).all():
        return float("-inf")
    span = (reference.max() - reference.min()).clamp(min=1e-12) if peak is None else peak
    error = ((output - reference) / span).square().mean().clamp(min=1e-20)
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
    """Return the PSNR in dB of `run` against `flat` in float32, over several calls in int8.

    Ranges of int8 fit what a model really sees: there it is measured on held-out calls of the
    model's own, elsewhere on patches under noise.

    Raises:
        AccuracyError: it is below the minimum of `dtype`.
    """
    rehearsal = flat.rehearsal if dtype == INT8 else None
    probes = rehearsal.samples(flat.stage).held_out if rehearsal else [probe_inputs(inputs)]
    in_float32 = float32_reference(flat, probes[0][0].device)
    noise = [10 ** (-_psnr_of_call(run, in_float32, probe) / 10) for probe in probes]
    reached = -10 * log10(sum(noise) / len(noise))
    if reached < MIN_PSNR[dtype]:
        raise AccuracyError(
            f"{reached:.1f} dB against float32, where {name_of(dtype)} must reach"
            f" {MIN_PSNR[dtype]:.0f}"
        )
    return reached


def check_images(run: FlatForward, flat: FlatStage) -> float:
    """Return the least PSNR in dB of the model's final images with `run` in place of its stage.

    Raises:
        AccuracyError: it is below `MIN_IMAGE_PSNR`.
    """
    assert flat.rehearsal is not None
    reached = flat.rehearsal.image_psnr(flat.stage, run)
    if reached < MIN_IMAGE_PSNR:
        raise AccuracyError(
            f"the images come to {reached:.1f} dB against float32, where they must reach"
            f" {MIN_IMAGE_PSNR:.0f}"
        )
    return reached


def _psnr_of_call(run: FlatForward, in_float32: FlatForward, probe: Sequence[Tensor]) -> float:
    with exact_float32():
        reference = in_float32(*probe)
    if not torch.isfinite(reference).all():
        raise AccuracyError("the stage itself gives values that are no numbers, even in float32")
    return psnr(run(*probe), reference)


def float32_reference(flat: FlatStage, device: torch.device) -> FlatForward:
    """Return `flat` in float32: on the CPU where a GPU's free memory would be short of a copy.

    A stream may be running there, which a full GPU would end.
    """
    needed = sum(weight.numel() * torch.float32.itemsize for weight in flat.parameters())
    if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] < ROOM * needed:
        return flat.in_float32_on_cpu()
    return flat.in_float32()
