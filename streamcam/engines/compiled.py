"""Compile stages ahead of time with torch's Inductor, so that nothing is compiled on air."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from streamcam.engines.compiler_cache import keep_headers
from streamcam.engines.device_info import device_fingerprint
from streamcam.engines.flat_stage import FlatForward, FlatStage

PACKAGE = "engine.pt2"


class CompiledEngine:
    """Compiles stages with AOTInductor."""

    name = "compiled"

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = self.weights_dtype = dtype

    def supports(self, flat: FlatStage) -> bool:  # noqa: ARG002
        return True

    def fingerprint(self) -> Mapping[str, str]:
        return device_fingerprint(self.device)

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        from torch._inductor import aoti_compile_and_package

        keep_headers()
        program = torch.export.export(flat, tuple(inputs))
        on_gpu = self.device.type == "cuda"
        aoti_compile_and_package(
            program,
            package_path=str(folder / PACKAGE),
            inductor_configs={
                "max_autotune": on_gpu,
                "freezing": not on_gpu,
                # Built with few threads while the stream runs, run with many.
                "cpp.dynamic_threads": True,
            },
        )

    def load(self, folder: Path) -> FlatForward:
        from torch._inductor import aoti_load_package

        package = str(folder / PACKAGE)
        if self.device.type != "cuda":
            return _ContiguousInputs(aoti_load_package(package))
        # A package that several threads may run waits between its calls, which no CUDA graph can
        # record; this one launches its kernels on the current stream, and no more.
        runner = aoti_load_package(
            package, run_single_threaded=True, device_index=self.device.index or 0
        )
        return _ContiguousInputs(runner)


class _ContiguousInputs:
    """Makes the inputs contiguous, as those were that the engine was built with."""

    def __init__(self, run: FlatForward) -> None:
        self._run = run

    def __call__(self, *tensors: Tensor) -> Tensor:
        return self._run(*(tensor.contiguous() for tensor in tensors))
