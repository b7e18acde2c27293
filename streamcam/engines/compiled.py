"""What torch.compile compiles with, run ahead of time: nothing is left to compile on air."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from streamcam.engines.cuda_graph import Graph
from streamcam.engines.device_info import about
from streamcam.engines.flat_stage import Flat, Run

PACKAGE = "engine.pt2"


class Compiled:
    """Compiles stages with Inductor (AOTInductor); on CUDA they run as CUDA graphs."""

    name = "compiled"

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = self.weights = dtype

    def takes(self, flat: Flat) -> bool:  # noqa: ARG002
        return True

    def about(self) -> Mapping[str, str]:
        return about(self.device)

    def build(self, flat: Flat, inputs: Sequence[Tensor], folder: Path) -> None:
        from torch._inductor import aoti_compile_and_package

        program = torch.export.export(flat, tuple(inputs))
        on_card = self.device.type == "cuda"
        aoti_compile_and_package(
            program,
            package_path=str(folder / PACKAGE),
            inductor_configs={
                "max_autotune": on_card,
                "freezing": not on_card,
                # Built with few threads beside the picture, run with many.
                "cpp.dynamic_threads": True,
            },
        )

    def load(self, folder: Path) -> Run:
        from torch._inductor import aoti_load_package

        package = str(folder / PACKAGE)
        if self.device.type == "cuda":
            return Graph(aoti_load_package(package, device_index=self.device.index or 0))
        return _Plain(aoti_load_package(package))


class _Plain:
    """Lays the tensors out as they were when the engine was built: row by row."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, *tensors: Tensor) -> Tensor:
        return self._run(*(tensor.contiguous() for tensor in tensors))
