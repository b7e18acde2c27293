"""Estimate the memory that an image stream needs, before anything is loaded.

The factors were counted on modules without memory in the shapes of SD 1.5, SD-Turbo and SDXL; a
test counts them again.
"""

from typing import NamedTuple

import torch

from streamcam.diffusion.guidance import GUIDANCE
from streamcam.engines.device_memory import DeviceMemory, device_memory
from streamcam.engines.placement import Placement, place
from streamcam.errors import EngineError
from streamcam.models.weight_bytes import ModelSize, model_size
from streamcam.settings.config import Config

UNET_FACTOR = 27
"""Activations of a U-Net call at their peak, in tensors of its channels at the latents' size."""
RESIDUALS_FACTOR = 11
"""Likewise: the residuals of a ControlNet, packed and scaled."""
TINY_VAE_CHANNELS, FULL_VAE_CHANNELS = 200, 790
"""Activations of a call of the autoencoder at their peak, in channels at the image's size."""
CUDA_BYTES = 900_000_000
"""CUDA's context and libraries, and their work areas."""
LIBRARIES_BYTES = 700_000_000
"""Main memory of a process that has loaded torch, diffusers and transformers."""
SMALL_SIDE = 384
WORTH_NAMING = 10**8
"""Bytes of weights from which they are a part of the need that a user cares about."""


class MemoryNeed(NamedTuple):
    """Bytes that a stream needs on its device."""

    weights: int
    frames: int
    """Activations of the largest call."""
    libraries: int

    @property
    def total(self) -> int:
        # A CUDA graph has memory of its own for what it computes.
        return self.weights + 2 * self.frames + self.libraries

    @property
    def to_build(self) -> int:
        """Bytes that a process needs besides, which builds engines of the same model."""
        return self.total + self.weights


def memory_need(config: Config, size: ModelSize, placement: Placement) -> MemoryNeed:
    """Return the memory that a stream of `config` needs, by the size of its model."""
    on_cpu = placement.device.type == "cpu"
    dtype = placement.weights_dtype
    each = torch.finfo(dtype).bits // 8
    n, f = config.num_steps, config.frame_buffer_size
    rows = (n + GUIDANCE[config.cfg_type].negative_rows(n)) * f
    pixels = config.width * config.height
    # The residuals of the U-Net stay until a ControlNet's are added to them.
    unet = UNET_FACTOR * size.channels * rows * pixels // 64
    unet += len(config.controlnet) * RESIDUALS_FACTOR * size.channels * rows * pixels // 64
    vae = (TINY_VAE_CHANNELS if size.has_tiny_vae else FULL_VAE_CHANNELS) * f * pixels
    libraries = LIBRARIES_BYTES if on_cpu else CUDA_BYTES
    elements = size.elements + size.controlnets
    return MemoryNeed(elements * each, max(unet, vae) * each, libraries)


def memory_line(config: Config, size: ModelSize, placement: Placement, free: DeviceMemory) -> str:
    """Return a line on what is needed and what is free, with the remedy if it may not fit."""
    need = memory_need(config, size, placement)
    weights = f" (weights {_gb(need.weights)})" if need.weights >= WORTH_NAMING else ""
    line = (
        f"memory: about {_gb(need.total)} needed on {placement.device}{weights},"
        f" {_gb(free.free)} of {_gb(free.total)} free"
    )
    if need.total <= free.free:
        return line
    return f"{line}: it may not fit; {' or '.join(remedies(config, size, placement))}"


def build_refusal(need: MemoryNeed, placement: Placement, free: DeviceMemory) -> str:
    """Return why engines cannot be built while a stream runs; empty if they can."""
    if need.to_build <= free.free:
        return ""
    return (
        f"engines are not built now: that needs about {_gb(need.to_build)} more on"
        f" {placement.device}, where {_gb(free.free)} are free; build them off air with"
        ' "streamcam engines build" and the same settings'
    )


def check_room(config: Config) -> None:
    """Raise EngineError if there is no room for a stream of `config` besides what runs already."""
    placement = place(config)
    size, memory = model_size(config), device_memory(placement.device)
    if size is None or memory is None:
        return
    need = memory_need(config, size, placement)
    if need.total > memory.free:
        raise EngineError(
            f"it needs about {_gb(need.total)} on {placement.device}, where {_gb(memory.free)} are"
            " free"
        )


def remedies(config: Config, size: ModelSize, placement: Placement) -> list[str]:
    """Return what would make the stream smaller, the greatest gain first."""
    need = memory_need(config, size, placement)
    found = {}
    if placement.device.type != "cpu" and placement.weights_dtype == torch.float32:
        found["choose --dtype float16"] = need.total // 2
    for advice, changes in (
        ("use the tiny autoencoder (leave --vae away, use_tiny_vae=true)", {}),
        ("choose --frame-buffer-size 1", {"frame_buffer_size": 1}),
        (
            f"choose --width {SMALL_SIDE} --height {SMALL_SIDE}",
            {
                "width": min(config.width, SMALL_SIDE),
                "height": min(config.height, SMALL_SIDE),
            },
        ),
    ):
        smaller = config.model_copy(update=changes)
        tiny = size if changes or size.has_tiny_vae else size._replace(has_tiny_vae=True)
        if (gain := need.total - memory_need(smaller, tiny, placement).total) > 0:
            found[advice] = gain
    best = sorted(found, key=lambda advice: found[advice], reverse=True)
    return [*best, "close other programs, or choose a smaller model"]


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
