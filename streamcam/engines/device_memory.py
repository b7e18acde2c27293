"""Free and peak memory of a device, and one error for running out of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from streamcam.errors import EngineError, one_line

NO_MEMORY = "can't allocate memory"
"""Torch's words for running out of main memory, which it reports as a plain RuntimeError."""

RECORDING = "captures_underway"
"""Name of what torch's allocator finds not empty while a CUDA graph is recorded."""

REMEDY = "take a smaller width and height, fewer kv_frames or steps, or more devices"


class OutOfMemory(EngineError):
    """A device ran out of memory."""


@contextmanager
def out_of_memory_errors(remedy: str = "") -> Iterator[None]:
    """Raise OutOfMemory, with the remedy if given, where memory runs out on any device."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and NO_MEMORY not in str(error):
            raise
        raise OutOfMemory(": ".join(filter(None, (one_line(error), remedy)))) from error


class DeviceMemory(NamedTuple):
    """Memory of a device, in bytes."""

    free: int
    total: int


CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says how much memory a container or a service may use."""


def device_memory(device: torch.device) -> DeviceMemory | None:
    """Return the memory of a GPU, or the main memory for a CPU; None where it cannot be read."""
    try:
        match device.type:
            case "cuda":  # Also AMD's.
                return DeviceMemory(*torch.cuda.mem_get_info(device))
            case "xpu":
                return DeviceMemory(*torch.xpu.mem_get_info(device))
            case "mps":
                total = torch.mps.recommended_max_memory()
                return DeviceMemory(total - torch.mps.driver_allocated_memory(), total)
            case _:
                return main_memory()
    except (RuntimeError, AttributeError):  # Some drivers do not tell.
        return None


def main_memory() -> DeviceMemory:
    """Return the main memory, of which a container may have a part."""
    memory = psutil.virtual_memory()
    free, total = memory.available, memory.total
    with suppress(OSError, ValueError):  # "max" where there is no limit.
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        free, total = min(free, max(0, limit - used)), min(total, limit)
    return DeviceMemory(free, total)


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # Windows has none.

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def release_cached_memory(device: torch.device) -> None:
    """Return memory that torch keeps in reserve to the device, unless a CUDA graph is recorded.

    While another thread records one torch refuses it with an error: then the memory stays in
    reserve, where torch's next tensors find it.
    """
    if device.type == "cuda":
        try:
            torch.cuda.empty_cache()
        except RuntimeError as error:
            if RECORDING not in str(error):
                raise
