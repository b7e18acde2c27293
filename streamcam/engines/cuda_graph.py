"""Record calls as CUDA graphs, in a way that a failure leaves no trace in the process.

A capture that CUDA gives up (after a synchronisation, or an allocation by a library) leaves torch
in the middle of it: the capture's stream stays the current one, the default generator refuses
every later draw, and the allocators go on as if it still ran (`CUDAGraph::capture_end` and its
note on `reset`, torch 2.11 to 2.13). Here each of these is undone.
"""

import ctypes
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch

from streamcam.engines.graphed_calls import Call

if TYPE_CHECKING:
    from torch.cuda import _POOL_HANDLE


class CudaCapture:
    """Records calls on one device; see `streamcam.engines.graphed_calls.Capture`.

    All graphs share one pool of memory, and so may never run at the same time: their results must
    be in memory that is allocated outside.
    """

    def __init__(self, device: torch.device) -> None:
        self._index = torch.cuda.current_device() if device.index is None else device.index
        self._stream: torch.cuda.Stream | None = None
        self._pool: _POOL_HANDLE | None = None
        self._newest: weakref.ref[torch.cuda.CUDAGraph] | None = None

    def __call__(self, call: Call) -> Call:
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._index)  # type: ignore[no-untyped-call]
        if self._newest is None or self._newest() is None:
            # A pool is gone with the last of its graphs.
            self._pool = torch.cuda.graph_pool_handle()
        assert self._pool is not None
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self._index),
            torch.cuda.stream(self._stream),
            _spare_generator(self._index),
            _no_garbage_collection(),
        ):
            torch.cuda.synchronize()
            # What plain calls have left there would be held twice.
            torch.cuda.empty_cache()
            try:
                # Other threads may call CUDA meanwhile: an engine may be loading.
                graph.capture_begin(self._pool, capture_error_mode="thread_local")
                call()
                graph.capture_end()
            except BaseException:
                _abandon(graph, self._index, self._pool)
                self._newest = None
                raise
        self._newest = weakref.ref(graph)

        def replay() -> None:
            # Looked up in each call, so that a profiler may put its own in the place of it.
            graph.replay()

        return replay


@contextmanager
def _spare_generator(index: int) -> Iterator[None]:
    """Give the default generator a state that may be lost, since a failed capture ends it."""
    generator = torch.cuda.default_generators[index]
    state = generator.graphsafe_get_state()
    generator.graphsafe_set_state(generator.clone_state())
    try:
        yield
    finally:
        generator.graphsafe_set_state(state)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Free no lost cycles meanwhile: among them may be what CUDA frees, which ends a capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _abandon(graph: torch.cuda.CUDAGraph, index: int, pool: "_POOL_HANDLE") -> None:
    """End the capture of `graph`, in whatever state it is."""
    with suppress(RuntimeError):
        graph.capture_end()
    try:
        torch._C._cuda_endAllocateToPool(index, pool)
    except RuntimeError:
        # The capture had an end: torch itself has informed its allocators.
        graph.reset()
        return
    torch._C._cuda_releasePool(index, pool)
    # Never freed: the allocator of pinned memory goes on asking it whether it is being captured.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(graph))
