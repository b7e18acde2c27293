"""Candidates of a comparison: what each of them runs, and how long every round took."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import torch


@dataclass(slots=True)
class Candidate:
    """One way to run a model, timed in turns with all others, which share the machine's noise."""

    name: str
    step: Callable[[], object]
    """Runs one call, of `frames` frames."""
    frames: int
    calls_in_flight: int
    dtype: torch.dtype
    is_baseline: bool = False
    bare: "Candidate | None" = None
    """The bare model calls that this candidate adds to."""
    memory: int = 0
    """Bytes that making it and its first call added."""
    seconds: list[float] = field(default_factory=list)
    """Of a frame, one entry for each round."""

    @property
    def median_s(self) -> float:
        """Median of the seconds of a frame."""
        return statistics.median(self.seconds)


def median_speedup(slow: Candidate, fast: Candidate) -> float:
    """Return how many times as fast `fast` is as `slow`: the median over the rounds."""
    return statistics.median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))
