"""Helpers shared by the benchmarks: frames, bare model calls, the device's own speed."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.stages import Condition
from streamcam.diffusion.steering import Steering
from streamcam.engines.dtypes import FLOAT8, name_of
from streamcam.engines.placement import place
from streamcam.frames.image_tensors import to_images, to_tensor
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame, Image

SIDE, SIDE_ON_GPU = 2048, 8192
"""Rows and columns of the matrices that the device's own rate is measured with."""
PRODUCTS_ON_GPU = 8
"""Products that are timed at once on a GPU: to start one takes as long as a small one does."""
STILL_FRAMES, STILL_NOISE = 12, 4.0
"""Frames of the still scene, and the standard deviation of its noise in grey levels."""


def iter_frames(scene: Sequence[Image]) -> Iterator[Frame]:
    """Yield the frames of `scene`, over and over."""
    index = 0
    while True:
        yield Frame(scene[index % len(scene)], index, float(Fraction(index, 30)))
        index += 1


def bare_calls(config: Config, models: ImageModel, scene: Sequence[Image]) -> Callable[[], float]:
    """Return a function that makes only the model calls of a frame, and returns their seconds."""
    f, n = config.frame_buffer_size, config.num_steps
    rows = (n + GUIDANCE[config.cfg_type].negative_rows(n)) * f
    condition = condition_for(models, rows)
    latents = torch.randn(rows, *models.latent_shape, device=models.device)
    timesteps = torch.full((rows,), 399, device=models.device)
    images = to_tensor([scene[0]] * f, models.device)
    # As on air: with another input, another engine would have to be built.
    noise = latents[:f] if models.encode_uses_noise else None
    steering = Steering(lora_scales=models.loras.start_scales())
    steered = () if steering.is_off else (steering,)

    def step() -> float:
        started_at = time.perf_counter()
        with torch.inference_mode():
            x_0 = models.encode(images, noise)
            models.denoise(latents, timesteps, condition, *steered)
            to_images(models.decode(x_0))
        return time.perf_counter() - started_at

    return step


@torch.inference_mode()
def condition_for(models: ImageModel, rows: int) -> Condition:
    """Return the condition of `rows` rows with the default prompt."""
    return Conditioner(models)(Parameters(), negative=0, positive=rows)


def mean_frame_difference(images: Sequence[Image]) -> float:
    """Return the mean absolute difference between one image and the next, in grey levels."""
    return float(np.abs(np.diff(np.stack(images).astype(np.float32), axis=0)).mean())


def machine(config: Config) -> dict[str, str | int]:
    """Return the device, dtype, versions and settings that figures were measured with."""
    device, dtype, choice = place(config)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {
        "device": name,
        "dtype": name_of(dtype),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "model": config.model,
        "size": f"{config.width}x{config.height}",
        "acceleration": choice.name,
    }


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second that `device` reaches in a matrix product."""
    on_gpu = device.type == "cuda"
    side, products = (SIDE_ON_GPU, PRODUCTS_ON_GPU) if on_gpu else (SIDE, 1)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        synchronize(device)
        started_at = time.perf_counter()
        for _ in range(products):
            product = _product(a, b)
        synchronize(device)
        best = min(best, time.perf_counter() - started_at)
    assert product.shape == (side, side)
    return 2 * products * side**3 / best


def synchronize(device: torch.device) -> None:
    """Wait until `device` has done all that it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _product(a: Tensor, b: Tensor) -> Tensor:
    if a.dtype != FLOAT8:
        return a @ b
    unscaled, one = F.ScalingType.TensorWise, torch.ones((), device=a.device)
    # The second matrix is column-major, as all GPUs need it.
    return F.scaled_mm(a, b.t(), one, unscaled, one, unscaled)


def changed(config: Config, **values: Any) -> Config:
    """Return `config` with `values` changed, validated as at start."""
    fields = {name: getattr(config, name) for name in type(config).model_fields}
    return Config.parse(fields | values)


def with_shared_weights(pipe: Any) -> Any:
    """Return a copy of a pipeline whose U-Net has the same weights, and layers of its own."""
    copied = copy.copy(pipe)
    copied.unet = copy.deepcopy(pipe.unet, {id(p): p for p in pipe.unet.parameters()})
    return copied


def no_report(line: str) -> None:
    """Ignore a line of progress."""
