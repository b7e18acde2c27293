"""TensorRT: NVIDIA's compiler for its GPUs, an optional extra that is not free software.

A stage is exported to ONNX in its own dtypes (a strongly typed network) and built into a plan:
kernels chosen by timing them on this very GPU.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.engines.device_info import device_fingerprint
from streamcam.engines.dtypes import FLOAT8
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.engines.float8 import (
    ROUND_TO_FLOAT8,
    round_to_float8_in_onnx,
    supports_float8,
    to_float8,
)
from streamcam.errors import EngineError, one_line

PLAN = "engine.plan"
OPSET = 19
"""Of ONNX; the oldest with float8, so that older parsers know it."""
OUTPUT = "output"


class TensorRtEngine:
    """Builds stages into plans, which run on torch's current stream."""

    name = "tensorrt"

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        """Compute in `dtype` on `device`; with float8, all other layers compute in float16."""
        self.device = device
        self.dtype = dtype
        self.weights_dtype = torch.float16 if dtype == FLOAT8 else dtype

    def supports(self, flat: FlatStage) -> bool:
        return self.dtype != FLOAT8 or supports_float8(flat)

    def fingerprint(self) -> Mapping[str, str]:
        import tensorrt

        return {"tensorrt": tensorrt.__version__} | dict(device_fingerprint(self.device))

    def build(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        if self.dtype == FLOAT8:
            flat = to_float8(flat, inputs)
        # Next to the engine, not in it: the ONNX is large, and not needed again.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as scratch:
            model = Path(scratch) / "stage.onnx"
            export(flat, inputs, model)
            with torch.cuda.device(self.device):
                (folder / PLAN).write_bytes(_build_plan(model, self.dtype))

    def load(self, folder: Path) -> FlatForward:
        import tensorrt

        logger = _logger().cleared()
        with torch.cuda.device(self.device):
            runtime = tensorrt.Runtime(logger)
            engine = runtime.deserialize_cuda_engine((folder / PLAN).read_bytes())
            if engine is None:
                raise EngineError(f"TensorRT cannot load its plan: {logger.first_error()}")
            return Execution(engine, self.device)


def export(flat: FlatStage, inputs: Sequence[Tensor], file: Path) -> None:
    """Write `flat` as ONNX for exactly these shapes: ``input_0``, ``input_1``, … to ``output``."""
    with _silenced_export(), torch.inference_mode(False), torch.no_grad():
        program = torch.export.export(flat, tuple(inputs))
        _insert_casts(program)
        torch.onnx.export(
            program,
            (),
            str(file),
            dynamo=True,
            opset_version=OPSET,
            input_names=[f"input_{i}" for i in range(len(inputs))],
            output_names=[OUTPUT],
            # The weights in a separate file: ONNX itself is limited to 2 GB.
            external_data=True,
            custom_translation_table={ROUND_TO_FLOAT8: round_to_float8_in_onnx},
            verbose=False,
        )


def _insert_casts(program: torch.export.ExportedProgram) -> None:
    """Make torch's implicit casts explicit: concatenation of two dtypes gives the wider one.

    ONNX concatenates tensors of one dtype only, and the exporter adds no casts.
    """
    aten = torch.ops.aten
    for node in list(program.graph.nodes):
        if node.target in (aten.cat.default, aten.concat.default):
            wider = node.meta["val"].dtype
            for part in [each for each in node.args[0] if each.meta["val"].dtype != wider]:
                with program.graph.inserting_before(node):
                    cast = program.graph.call_function(
                        aten._to_copy.default, (part,), {"dtype": wider}
                    )
                cast.meta["val"] = part.meta["val"].to(wider)
                node.replace_input_with(part, cast)


def _build_plan(model: Path, dtype: torch.dtype) -> Any:
    """Return the plan of the ONNX file `model`, as a buffer.

    Raises:
        EngineError: TensorRT cannot parse the model, or cannot build it.
    """
    import tensorrt

    logger = _logger().cleared()
    builder = tensorrt.Builder(logger)
    strongly_typed = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = tensorrt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):
        error = parser.get_error(0)
        reason = one_line(EngineError(f"{error.node_operator()}: {error.desc()}"))
        raise EngineError(f"TensorRT cannot read the stage: {reason}")
    config = builder.create_builder_config()
    if dtype == torch.float32:
        # On by default: products with ten bits of mantissa are not float32.
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT cannot build the stage: {logger.first_error()}")
    return plan


class Execution:
    """Enqueues a plan on torch's current stream, on the memory of the tensors themselves."""

    def __init__(self, engine: Any, device: torch.device) -> None:
        import tensorrt

        self._device = device
        self._logger = _logger()
        # Only held: the engine must live as long as its context.
        self._engine = engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"TensorRT has no memory to run in: {self._logger.first_error()}")
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        output = [n for n in names if engine.get_tensor_mode(n) == tensorrt.TensorIOMode.OUTPUT]
        assert output == [OUTPUT], names
        # In the order of the stage, whatever order the plan lists them in.
        self._inputs = [f"input_{i}" for i in range(len(names) - 1)]
        self._shape = tuple(engine.get_tensor_shape(OUTPUT))
        self._dtype = _torch_dtype(engine.get_tensor_dtype(OUTPUT))

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Run the stage."""
        result = torch.empty(self._shape, dtype=self._dtype, device=self._device)
        inputs = [tensor.contiguous() for tensor in tensors]
        for name, tensor in zip([*self._inputs, OUTPUT], [*inputs, result], strict=True):
            self._check(self._context.set_tensor_address(name, tensor.data_ptr()))
        stream = torch.cuda.current_stream(self._device).cuda_stream
        self._check(self._context.execute_async_v3(stream))
        return result

    def _check(self, succeeded: bool) -> None:
        if not succeeded:
            raise EngineError(f"TensorRT cannot run its plan: {self._logger.first_error()}")


def _torch_dtype(dtype: Any) -> torch.dtype:
    import tensorrt

    known = {
        tensorrt.DataType.FLOAT: torch.float32,
        tensorrt.DataType.HALF: torch.float16,
        tensorrt.DataType.BF16: torch.bfloat16,
    }
    return known[dtype]


@cache
def _logger() -> Any:
    """Return the logger of this process, which prints nothing and stores the first error.

    TensorRT uses one at a time: while an object created with it lives, it ignores all others.
    """
    import tensorrt

    class FirstErrorLogger(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)
            self._first = ""

        def cleared(self) -> Any:
            """Forget the stored error, and return the logger."""
            self._first = ""
            return self

        def log(self, severity: Any, msg: str) -> None:
            if severity in (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR):
                self._first = self._first or msg

        def first_error(self) -> str:
            return one_line(EngineError(self._first or "it gives no reason"))

    return FirstErrorLogger()


@contextmanager
def _silenced_export() -> Iterator[None]:
    """Silence the warnings of an export, which are meant for the authors of models."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
