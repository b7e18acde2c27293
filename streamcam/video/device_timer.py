"""Time that a device spends on each kind of work, measured without waiting for it."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class DeviceTimer:
    """Adds up the seconds of each kind of work; on a GPU those of the GPU, not of the CPU.

    Args:
        device: that does the work.
        clock: for work on the CPU.
    """

    def __init__(
        self, device: torch.device, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._on_gpu = device.type == "cuda"
        self._clock = clock
        self._open: deque[tuple[str, Any, Any]] = deque()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """Add the time of the body to `kind`."""
        began = self._mark()
        yield
        self._open.append((kind, began, self._mark()))

    def pop_seconds(self) -> dict[str, float]:
        """Return the seconds of finished work by kind since the previous call, and start again."""
        while self._open and (not self._on_gpu or self._open[0][2].query()):
            kind, began, ended = self._open.popleft()
            seconds = began.elapsed_time(ended) / 1e3 if self._on_gpu else ended - began
            self._seconds[kind] += seconds
        seconds_by_kind, self._seconds = dict(self._seconds), defaultdict(float)
        return seconds_by_kind

    def _mark(self) -> Any:
        if not self._on_gpu:
            return self._clock()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event
