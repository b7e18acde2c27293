"""CPU cores that this process may run on."""

import os


def available_cores() -> int:
    """Return how many cores this process may run on, which may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
