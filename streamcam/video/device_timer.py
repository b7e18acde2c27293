"""What a device is busy with, measured without waiting for it."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


class DeviceTimer:
    """Adds up the seconds that each kind of work takes; on a GPU its own, not the processor's.

    Args:
        device: that does the work.
        clock: for work on the processor.
    """

    def __init__(
        self, device: torch.device, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._on_gpu = device.type == "cuda"
        self._clock = clock
        self._open: deque[tuple[str, Any, Any]] = deque()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Add what is done within to `what`."""
        began = self._mark()
        yield
        self._open.append((what, began, self._mark()))

    def pop_seconds(self) -> dict[str, float]:
        """Return the seconds since this was last asked, by kind, of all that is over."""
        while self._open and (not self._on_gpu or self._open[0][2].query()):
            what, began, ended = self._open.popleft()
            spent = began.elapsed_time(ended) / 1e3 if self._on_gpu else ended - began
            self._seconds[what] += spent
        taken, self._seconds = dict(self._seconds), defaultdict(float)
        return taken

    def _mark(self) -> Any:
        if not self._on_gpu:
            return self._clock()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event
