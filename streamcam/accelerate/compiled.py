"""What torch.compile compiles with, run ahead of time: nothing is left to compile on air."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from streamcam.accelerate.flat import Flat, Run

PACKAGE = "engine.pt2"
CALLS_BEFORE_CAPTURE = 3
"""What a library sets up in its first calls must not end up in the graph."""


class Compiled:
    """Compiles stages with Inductor (AOTInductor); on CUDA they run as CUDA graphs."""

    name = "compiled"

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = self.weights = dtype

    def about(self) -> Mapping[str, str]:
        if self.device.type == "cuda":
            card = torch.cuda.get_device_properties(self.device)
            return {
                "device": f"{card.name}, compute capability {card.major}.{card.minor}",
                "cuda": str(torch.version.cuda),
            }
        able = torch.cpu.get_capabilities()
        return {
            "device": f"{able.get('cpu_name')}, {torch.backends.cpu.get_cpu_capability()}",
            "capabilities": " ".join(sorted(name for name, has in able.items() if has is True)),
        }

    def build(self, flat: Flat, inputs: Sequence[Tensor], folder: Path) -> None:
        from torch._inductor import aoti_compile_and_package

        program = torch.export.export(flat, tuple(inputs))
        on_card = self.device.type == "cuda"
        aoti_compile_and_package(
            program,
            package_path=str(folder / PACKAGE),
            inductor_configs={"max_autotune": on_card, "freezing": not on_card},
        )

    def load(self, folder: Path) -> Run:
        from torch._inductor import aoti_load_package

        package = str(folder / PACKAGE)
        if self.device.type == "cuda":
            return _Graph(aoti_load_package(package, device_index=self.device.index or 0))
        return _Plain(aoti_load_package(package))


class _Plain:
    """Lays the tensors out as they were when the engine was built: row by row."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, *tensors: Tensor) -> Tensor:
        return self._run(*(tensor.contiguous() for tensor in tensors))


class _Graph:
    """Replays one recorded call: the processor then launches one thing instead of hundreds."""

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
