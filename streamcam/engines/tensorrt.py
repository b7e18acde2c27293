"""TensorRT: NVIDIA's compilers for its GPUs, optional extras that are not free software.

A stage is exported to ONNX in its own dtypes (a strongly typed network) and built into a plan. Of
TensorRT that holds kernels chosen by timing them on this very GPU; of TensorRT for RTX it holds
what its kernels are compiled from when they are first used.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.engines.build_progress import Report
from streamcam.engines.device_info import device_fingerprint
from streamcam.engines.dtypes import FLOAT8
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.engines.float8 import supports_float8, to_float8
from streamcam.engines.onnx_export import OUTPUT, export
from streamcam.engines.tensor_alignment import aligned
from streamcam.engines.tensorrt_library import TENSORRT, Library, logger_of
from streamcam.engines.tensorrt_plan import PlanRequest, build_plan, replace_file, timings_file
from streamcam.errors import EngineError

PLAN = "engine.plan"
KERNELS = "kernels-{}.cache"
"""Files of the kernels that TensorRT for RTX has compiled: of each driver one."""


class TensorRtEngine:
    """Builds stages into plans, which run on torch's current stream.

    Args:
        device: to run on.
        dtype: to compute in; with float8, all other layers compute in float16.
        library: which compiler builds and runs the plans.

    Raises:
        EngineError: the library is not made for this GPU.
    """

    def __init__(
        self, device: torch.device, dtype: torch.dtype, library: Library = TENSORRT
    ) -> None:
        self.name = library.engine
        self.device = device
        self.dtype = dtype
        self.weights_dtype = torch.float16 if dtype == FLOAT8 else dtype
        self.on_step: Report = lambda _: None
        self._library = library
        library.check(device)

    def supports(self, flat: FlatStage) -> bool:
        return self.dtype != FLOAT8 or supports_float8(flat)

    def fingerprint(self) -> Mapping[str, str]:
        version = str(self._library.load().__version__)
        return {self._library.module: version} | dict(device_fingerprint(self.device))

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        self._build(flat, inputs, folder, tuned=False)

    def build_tuned(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        """Build as `build` does, but at the highest level of optimisation, which takes longer."""
        self._build(flat, inputs, folder, tuned=True)

    def load(self, folder: Path) -> FlatForward:
        logger = logger_of(self._library).cleared()
        with self._on_device():
            runtime = self._library.load().Runtime(logger)
            plan = runtime.deserialize_cuda_engine((folder / PLAN).read_bytes())
            if plan is None:
                raise EngineError(
                    f"{self._library.title} cannot load its plan: {logger.first_error()}"
                )
            if self._library.times_kernels:
                return Execution(self._library, plan, self.device)
            return self._load_with_kernels(plan, folder)

    def _build(
        self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path, *, tuned: bool
    ) -> None:
        self.on_step("reading the model")
        if self.dtype == FLOAT8:
            flat = to_float8(flat, inputs)
        timings = None
        if self._library.times_kernels:
            # Next to the engines: those of other models and sizes need many of the same kernels.
            timings = timings_file(folder.parent, self.fingerprint())
        # Next to the engine, not in it: the ONNX is large, and not needed again.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as scratch:
            model = Path(scratch) / "stage.onnx"
            export(flat, inputs, model)
            request = PlanRequest(model, self.dtype, self.device, tuned, timings)
            with self._on_device():
                plan = build_plan(self._library, request, self.on_step)
                (folder / PLAN).write_bytes(plan)

    def _load_with_kernels(self, plan: Any, folder: Path) -> "Execution":
        """Return a plan of TensorRT for RTX, with its kernels compiled: now, or before.

        They depend on the driver; those of an earlier one stay, for when it is installed again.
        """
        config = plan.create_runtime_config()
        kernels = config.create_runtime_cache()
        found = any(kernels.deserialize(content) for content in _stored_kernels(folder))
        config.set_runtime_cache(kernels)
        execution = Execution(self._library, plan, self.device, config, kernels)
        if not found:
            execution.run_once()
            file = next(f for i in count() if not (f := folder / KERNELS.format(i)).exists())
            replace_file(file, bytes(memoryview(kernels.serialize())))
        return execution

    def _on_device(self) -> Any:
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()


def _stored_kernels(folder: Path) -> Iterator[bytes]:
    for file in sorted(folder.glob(KERNELS.format("*"))):
        yield file.read_bytes()


class Execution:
    """Enqueues a plan on torch's current stream, on the memory of the tensors themselves.

    Nothing in a call waits for the GPU or allocates memory but for its result, from torch's pool:
    it may be recorded as a CUDA graph.

    Args:
        library: that the plan is of.
        plan: loaded, an ``ICudaEngine``.
        device: to run on.
        config: an ``IRuntimeConfig``; None for the library's defaults.
        kernels: the ``IRuntimeCache`` in `config`, if there is one.

    Raises:
        EngineError: there is no memory to run in.
    """

    def __init__(
        self,
        library: Library,
        plan: Any,
        device: torch.device,
        config: Any = None,
        kernels: Any = None,
    ) -> None:
        module = library.load()
        self._library = library
        self._device = device
        # Only held: they must live as long as the context.
        self._plan, self._held = plan, (config, kernels)
        self._context = (
            plan.create_execution_context()
            if config is None
            else plan.create_execution_context(config)
        )
        if self._context is None:
            raise EngineError(f"{library.title} has no memory to run in: {self._error()}")
        names = [plan.get_tensor_name(i) for i in range(plan.num_io_tensors)]
        output = [n for n in names if plan.get_tensor_mode(n) == module.TensorIOMode.OUTPUT]
        assert output == [OUTPUT], names
        # In the order of the stage, whatever order the plan lists them in.
        self._names = [*(f"input_{i}" for i in range(len(names) - 1)), OUTPUT]
        self._dtypes = {n: _torch_dtype(module, plan.get_tensor_dtype(n)) for n in names}
        self._addresses: dict[str, int] = {}

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Run the stage."""
        result = self._empty(OUTPUT)
        # Held until the end of the call: a copy's memory may be given away as soon as it is not.
        in_place = [*map(aligned, tensors), result]
        for name, tensor in zip(self._names, in_place, strict=True):
            if self._addresses.get(name) != tensor.data_ptr():
                self._check(self._context.set_tensor_address(name, tensor.data_ptr()))
                self._addresses[name] = tensor.data_ptr()
        stream = torch.cuda.current_stream(self._device).cuda_stream
        self._check(self._context.execute_async_v3(stream))
        return result

    def run_once(self) -> None:
        """Run on zeros and wait: the library compiles what it needs in its first call."""
        self(*(self._empty(name).zero_() for name in self._names[:-1]))
        if self._device.type == "cuda":
            torch.cuda.current_stream(self._device).synchronize()

    def _empty(self, name: str) -> Tensor:
        shape = tuple(self._plan.get_tensor_shape(name))
        return torch.empty(shape, dtype=self._dtypes[name], device=self._device)

    def _check(self, succeeded: bool) -> None:
        if not succeeded:
            raise EngineError(f"{self._library.title} cannot run its plan: {self._error()}")

    def _error(self) -> str:
        return str(logger_of(self._library).first_error())


def _torch_dtype(module: Any, dtype: Any) -> torch.dtype:
    known = {
        module.DataType.FLOAT: torch.float32,
        module.DataType.HALF: torch.float16,
        module.DataType.BF16: torch.bfloat16,
        module.DataType.INT64: torch.int64,
    }
    return known[dtype]
