"""How much memory is in use, and what it is like when there is none left."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from streamcam.errors import EngineError, one_line

NO_MEMORY = "can't allocate memory"
"""What torch says of the main memory, in an error of no kind of its own."""


REMEDY = "take a smaller width and height, fewer kv_frames or steps, or more devices"


class OutOfMemory(EngineError):
    """A device has too little memory for what it was to do."""


@contextmanager
def out_of_memory_errors(remedy: str = "") -> Iterator[None]:
    """Raise OutOfMemory, with the remedy if any, where memory runs out on any device."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and NO_MEMORY not in str(error):
            raise
        raise OutOfMemory(": ".join(filter(None, (one_line(error), remedy)))) from error


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that were in use: the GPU's, else this process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # Windows has none.

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def release_cached_memory(device: torch.device) -> None:
    """Give memory that is only kept in reserve back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
