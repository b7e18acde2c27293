"""CUDA streams for copies that overlap with the model, and the one place that waits for them."""

from collections.abc import Callable
from itertools import cycle
from typing import Protocol

import torch

CALLS_AT_ONCE = 2
"""Calls of the model in flight at most: one that runs, and one queued behind it."""


class CopyStreams(Protocol):
    """Uploads, the model and downloads: each in order, overlapping with the other two."""

    pins: bool
    """Whether copies overlap with the CPU too, from pinned memory."""

    def upload(self, copy: Callable[[], object]) -> None:
        """Start `copy` to the device; all work queued on the device later waits for it."""

    def download(self, copy: Callable[[], object]) -> Callable[[], None]:
        """Start `copy` from the device after all work queued so far; return a wait for it."""

    def wait_for_model(self) -> None:
        """Make later uploads wait for the work queued so far, as newly allocated memory needs."""

    def synchronize(self) -> None:
        """Wait until the device has done all the work queued on it."""


class CudaCopyStreams:
    """A CUDA stream for each direction, next to the one that the model runs on."""

    pins = True

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._upload_stream, self._download_stream = _stream(device), _stream(device)
        self._uploaded, self._model_done = _event(), _event()
        # Blocking: a CPU that spins while it waits slows the process that viewers depend on.
        self._downloaded = cycle([_event(blocking=True) for _ in range(CALLS_AT_ONCE)])

    def upload(self, copy: Callable[[], object]) -> None:
        with torch.cuda.stream(self._upload_stream):
            copy()
        self._uploaded.record(self._upload_stream)
        self._model.wait_event(self._uploaded)

    def download(self, copy: Callable[[], object]) -> Callable[[], None]:
        done = next(self._downloaded)
        self._model_done.record(self._model)
        self._download_stream.wait_event(self._model_done)
        with torch.cuda.stream(self._download_stream):
            copy()
        done.record(self._download_stream)
        return done.synchronize

    def wait_for_model(self) -> None:
        self._upload_stream.wait_stream(self._model)

    def synchronize(self) -> None:
        self._model.synchronize()

    @property
    def _model(self) -> torch.cuda.Stream:
        return torch.cuda.current_stream(self._device)


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _event(*, blocking: bool = False) -> torch.cuda.Event:
    return torch.cuda.Event(blocking=blocking)  # type: ignore[no-untyped-call]
