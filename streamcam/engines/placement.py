"""Placement of the models: the device, the dtype and the engine that they run on."""

from typing import Any, NamedTuple

import torch

from streamcam.engines.dtypes import dtype_of, name_of
from streamcam.engines.selection import EngineChoice, choose_engines, computes_in_bfloat16
from streamcam.engines.store import Store
from streamcam.engines.timings import load_timings, timings_cache_key
from streamcam.errors import ConfigError
from streamcam.settings.config import Config

TIMED_SETTINGS = (
    "model",
    "mode",
    "vae",
    "use_tiny_vae",
    "lora",
    "live_loras",
    "controlnet",
    "width",
    "height",
    "frame_buffer_size",
    "cfg_type",
    "use_denoising_batch",
    "cross_frame_attention",
    "cache_prompt_kv",
    "prompt_chunks",
    "region_mask",
)
"""The settings that the time of a frame depends on, apart from the number of steps."""


class Placement(NamedTuple):
    """The device, dtype and engines that models run on."""

    device: torch.device
    dtype: torch.dtype
    """The dtype that they compute in."""
    choice: EngineChoice

    @property
    def weights_dtype(self) -> torch.dtype:
        """The dtype of the weights of the stages."""
        engines = self.choice.engines
        return engines[0].weights_dtype if engines else self.dtype

    def __str__(self) -> str:
        return f"running on {self.device} in {name_of(self.dtype)}: {self.choice.reason}"


def place(config: Config) -> Placement:
    """Return the placement of the models of `config`.

    Raises:
        ConfigError: there is no such device here.
        EngineError: the acceleration asked for cannot run here.
    """
    # OpenVINO runs on Intel GPUs by itself, from tensors in main memory.
    intel_gpu = (config.acceleration, config.device) == ("openvino", "xpu")
    device = torch.device("cpu") if intel_gpu else pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    runs_on = torch.device("xpu") if intel_gpu else device
    measured = None
    if config.acceleration == "auto":
        measured = load_timings(Store(config.engine_dir), timings_key(config, device, dtype))
    return Placement(device, dtype, choose_engines(config.acceleration, runs_on, dtype, measured))


def timings_key(config: Config, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Return the cache key of the measured times of the engines under `config`."""
    settings = {name: getattr(config, name) for name in TIMED_SETTINGS}
    return timings_cache_key(settings | {"num_steps": config.num_steps}, device, dtype)


def pick_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` takes the first GPU there is.

    Raises:
        ConfigError: there is no such device here.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "xpu": torch.xpu.is_available(),
        "cpu": True,
    }
    here = [kind for kind, is_available in available.items() if is_available]
    if name == "auto":
        return torch.device(here[0])
    device = torch.device(name)
    if device.type not in here or (device.index or 0) >= _count(device.type):
        raise ConfigError(f"no device {name} here; found: {', '.join(here)}")
    return device


def _count(kind: str) -> int:
    return torch.cuda.device_count() if kind == "cuda" else 1


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of that name.

    ``auto`` is float16 on a GPU, bfloat16 on a CPU that computes in it, else
    float32.
    """
    if name == "auto" and device.type == "cpu":
        return torch.bfloat16 if computes_in_bfloat16() else torch.float32
    if name == "auto":
        return torch.float16
    return dtype_of(name)
