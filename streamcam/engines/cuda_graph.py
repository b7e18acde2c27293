"""CUDA graphs: the CPU launches one recorded call instead of hundreds of kernels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from streamcam.engines.flat_stage import FlatForward

WARMUP_CALLS = 3
"""Calls before the capture: whatever a library sets up in its first ones must not be recorded."""


class CudaGraph:
    """Replays one recorded call on memory of its own."""

    def __init__(self, run: FlatForward) -> None:
        self._run = run
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._output = torch.empty(0)

    def __call__(self, *tensors: Tensor) -> Tensor:
        if self._graph is None:
            self._graph = self._capture(tensors)
        for static_input, tensor in zip(self._inputs, tensors, strict=True):
            static_input.copy_(tensor)
        self._graph.replay()
        # The next call overwrites the graph's own memory.
        return self._output.clone()

    def _capture(self, tensors: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        with torch.inference_mode(False):
            self._inputs = [t.clone(memory_format=torch.contiguous_format) for t in tensors]
        warmup_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        warmup_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warmup_stream):
            for _ in range(WARMUP_CALLS):
                self._run(*self._inputs)
        torch.cuda.current_stream().wait_stream(warmup_stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may call CUDA during the capture: the stage still runs as it is written.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._output = self._run(*self._inputs)
        return graph
