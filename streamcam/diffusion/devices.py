"""Which device the models run on, and in which number format."""

import torch

from streamcam.errors import ConfigError


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
    """Return the dtype of that name; ``auto`` is half precision on an accelerator."""
    if name == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    dtype: torch.dtype = getattr(torch, name)
    return dtype
