"""What runs beside what on the device, and the one place that waits for it."""

from collections.abc import Callable
from itertools import cycle
from typing import Protocol

import torch

CALLS_AT_ONCE = 2
"""Calls of the model that may be on their way: one that runs, and one asked for behind it."""


class CopyStreams(Protocol):
    """Copies to the device, the model, copies from the device: each in order, beside the others."""

    pins: bool
    """Whether copies run beside the processor too, from memory that stays where it is."""

    def upload(self, copy: Callable[[], object]) -> None:
        """Start `copy` to the device; all that is asked of the device next waits for it."""

    def download(self, copy: Callable[[], object]) -> Callable[[], None]:
        """Start `copy` from the device after all that was asked of it; return what waits for it."""

    def wait_for_model(self) -> None:
        """Let copies to the device wait for what was asked of it, as new memory needs."""

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""


class CudaCopyStreams:
    """A CUDA stream for each direction, beside the one that the model runs on."""

    pins = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up, self._down = _stream(device), _stream(device)
        self._up_to_date, self._ready = _event(), _event()
        # Blocking: a processor that spins while it waits takes from the one that viewers see.
        self._done = cycle([_event(blocking=True) for _ in range(CALLS_AT_ONCE)])

    def upload(self, copy: Callable[[], object]) -> None:
        with torch.cuda.stream(self._up):
            copy()
        self._up_to_date.record(self._up)
        self._model.wait_event(self._up_to_date)

    def download(self, copy: Callable[[], object]) -> Callable[[], None]:
        done = next(self._done)
        self._ready.record(self._model)
        self._down.wait_event(self._ready)
        with torch.cuda.stream(self._down):
            copy()
        done.record(self._down)
        return done.synchronize

    def wait_for_model(self) -> None:
        self._up.wait_stream(self._model)

    def synchronize(self) -> None:
        self._model.synchronize()

    @property
    def _model(self) -> torch.cuda.Stream:
        return torch.cuda.current_stream(self._device)


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _event(*, blocking: bool = False) -> torch.cuda.Event:
    return torch.cuda.Event(blocking=blocking)  # type: ignore[no-untyped-call]
