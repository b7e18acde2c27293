"""CUDA graphs: the processor launches one recorded call instead of hundreds of kernels."""

from collections.abc import Sequence

import torch
from torch import Tensor

from streamcam.engines.flat_stage import Run

CALLS_BEFORE_CAPTURE = 3
"""What a library sets up in its first calls must not end up in the graph."""


class Graph:
    """Replays one recorded call on memory of its own."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._output = torch.empty(0)

    def __call__(self, *tensors: Tensor) -> Tensor:
        if self._graph is None:
            self._graph = self._captured(tensors)
        for own, given in zip(self._inputs, tensors, strict=True):
            own.copy_(given)
        self._graph.replay()
        # The next call writes over the graph's own memory.
        return self._output.clone()

    def _captured(self, tensors: Sequence[Tensor]) -> torch.cuda.CUDAGraph:
        with torch.inference_mode(False):
            self._inputs = [t.clone(memory_format=torch.contiguous_format) for t in tensors]
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(CALLS_BEFORE_CAPTURE):
                self._run(*self._inputs)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # Other threads go on as they please: the stage runs as it is written meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._output = self._run(*self._inputs)
        return graph
