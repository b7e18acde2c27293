"""Peak memory of a device, and one error for running out of it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from streamcam.errors import EngineError, one_line

NO_MEMORY = "can't allocate memory"
"""Torch's words for running out of main memory, which it reports as a plain RuntimeError."""

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


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # Windows has none.

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def release_cached_memory(device: torch.device) -> None:
    """Return memory that torch keeps in reserve to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
