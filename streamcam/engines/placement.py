"""Which device the models run on, in which number format, and on which engine."""

from typing import Any, NamedTuple

import torch

from streamcam.engines.dtypes import dtype_of, name_of
from streamcam.engines.selection import Choice, choose, computes_in_bfloat16
from streamcam.engines.store import Store
from streamcam.engines.timings import load_timings, timings_key_of
from streamcam.errors import ConfigError
from streamcam.settings.config import Config

STRUCTURE = (
    "model",
    "mode",
    "vae",
    "use_tiny_vae",
    "lora",
    "width",
    "height",
    "frame_buffer_size",
    "cfg_type",
    "use_denoising_batch",
    "cross_frame_attention",
    "cache_prompt_kv",
)
"""The settings that a frame's time depends on, beside the number of steps."""


class Placement(NamedTuple):
    """Where and how the models run."""

    device: torch.device
    dtype: torch.dtype
    """The number format that they compute in."""
    choice: Choice

    @property
    def weights(self) -> torch.dtype:
        """Return the number format that the stages are kept in."""
        engines = self.choice.engines
        return engines[0].weights if engines else self.dtype

    def __str__(self) -> str:
        return f"on {self.device} as {name_of(self.dtype)}, {self.choice.why}"


def place(config: Config) -> Placement:
    """Return where and how the models of `config` run.

    Raises:
        ConfigError: there is no such device here.
        EngineError: the acceleration asked for cannot run here.
    """
    # OpenVINO drives Intel's graphics by itself, from tensors in memory.
    by_openvino = (config.acceleration, config.device) == ("openvino", "xpu")
    device = torch.device("cpu") if by_openvino else pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    runs_on = torch.device("xpu") if by_openvino else device
    measured = None
    if config.acceleration == "auto":
        measured = load_timings(Store(config.engine_dir), timings_key(config, device, dtype))
    return Placement(device, dtype, choose(config.acceleration, runs_on, dtype, measured))


def timings_key(config: Config, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Return what the speeds of engines under `config` are kept under: its structure."""
    structure = {name: getattr(config, name) for name in STRUCTURE}
    return timings_key_of(structure | {"num_steps": config.num_steps}, device, dtype)


def pick_device(name: str) -> torch.device:
    """Return the device of that name; ``auto`` takes the first accelerator there is.

    Raises:
        ConfigError: there is no such device here.
    """
    found = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "xpu": torch.xpu.is_available(),
        "cpu": True,
    }
    here = [kind for kind, available in found.items() if available]
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

    ``auto`` is float16 on an accelerator, bfloat16 on a processor that computes in it, else
    float32.
    """
    if name == "auto" and device.type == "cpu":
        return torch.bfloat16 if computes_in_bfloat16() else torch.float32
    if name == "auto":
        return torch.float16
    return dtype_of(name)
