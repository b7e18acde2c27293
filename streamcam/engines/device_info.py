"""What an engine's files depend on of a device, as torch tells it."""

from collections.abc import Mapping

import torch


def about(device: torch.device) -> Mapping[str, str]:
    """Return the facts of `device` that make another engine."""
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        return {
            "device": f"{card.name}, compute capability {card.major}.{card.minor}",
            "cuda": str(torch.version.cuda),
        }
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return {
            "device": f"{able.get('cpu_name')}, {torch.backends.cpu.get_cpu_capability()}",
            "capabilities": " ".join(sorted(name for name, has in able.items() if has is True)),
        }
    return {"device": device.type}
