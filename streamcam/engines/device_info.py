"""The facts of a torch device that an engine's files depend on."""

from collections.abc import Mapping

import torch


def is_nvidia_gpu(device: torch.device) -> bool:
    """Return whether `device` is a GPU of NVIDIA: torch calls AMD's ``cuda`` as well."""
    return device.type == "cuda" and torch.version.hip is None


def gpu_uuid(device: torch.device) -> str:
    """Return the UUID of an NVIDIA GPU as NVML writes it; "" for any other device."""
    if device.type != "cuda" or torch.version.cuda is None:
        return ""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def device_fingerprint(device: torch.device) -> Mapping[str, str]:
    """Return the facts of `device` that make another engine necessary when they change."""
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        return {
            "device": f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}",
            "cuda": str(torch.version.cuda),
        }
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        names = sorted(name for name, has in capabilities.items() if has is True)
        return {
            "device": f"{capabilities.get('cpu_name')}, {torch.backends.cpu.get_cpu_capability()}",
            "capabilities": " ".join(names),
        }
    return {"device": device.type}
