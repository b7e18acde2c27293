"""TensorRT: NVIDIA's own compiler for its cards. An extra, and not free software.

A stage travels as ONNX, in the number formats that it is written in (a strongly typed network), and
becomes a plan: kernels chosen by timing them on this very card.
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

from streamcam.engines.cuda_graph import Graph
from streamcam.engines.device_info import about
from streamcam.engines.dtypes import FLOAT8
from streamcam.engines.flat_stage import Flat, Run
from streamcam.engines.float8 import ROUNDED, bears_float8, in_float8, rounded_in_onnx
from streamcam.errors import EngineError, one_line

PLAN = "engine.plan"
OPSET = 19
"""Of ONNX; the oldest that has float8, so that older parsers know it."""
OUTPUT = "output"


class TensorRt:
    """Builds stages into plans, which run as CUDA graphs on torch's own streams."""

    name = "tensorrt"

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        """Take a card, and what is computed in: in float8 whatever is not is in float16."""
        self.device = device
        self.dtype = dtype
        self.weights = torch.float16 if dtype == FLOAT8 else dtype

    def takes(self, flat: Flat) -> bool:
        return self.dtype != FLOAT8 or bears_float8(flat)

    def about(self) -> Mapping[str, str]:
        import tensorrt

        return {"tensorrt": tensorrt.__version__} | dict(about(self.device))

    def build(self, flat: Flat, inputs: Sequence[Tensor], folder: Path) -> None:
        if self.dtype == FLOAT8:
            flat = in_float8(flat, inputs)
        # Beside the engine, not in it: the ONNX is large, and of no more use.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=folder.name) as beside:
            model = Path(beside) / "stage.onnx"
            export(flat, inputs, model)
            with torch.cuda.device(self.device):
                (folder / PLAN).write_bytes(_plan(model, self.dtype))

    def load(self, folder: Path) -> Run:
        import tensorrt

        heard = _listener().listen()
        with torch.cuda.device(self.device):
            runtime = tensorrt.Runtime(heard)
            engine = runtime.deserialize_cuda_engine((folder / PLAN).read_bytes())
            if engine is None:
                raise EngineError(f"TensorRT cannot load its plan: {heard.told()}")
            return Graph(Execution(engine, self.device))


def export(flat: Flat, inputs: Sequence[Tensor], file: Path) -> None:
    """Write `flat` as ONNX for exactly these shapes: ``input_0``, ``input_1``, … to ``output``."""
    with _quietly(), torch.inference_mode(False), torch.no_grad():
        program = torch.export.export(flat, tuple(inputs))
        _say_casts(program)
        torch.onnx.export(
            program,
            (),
            str(file),
            dynamo=True,
            opset_version=OPSET,
            input_names=[f"input_{i}" for i in range(len(inputs))],
            output_names=[OUTPUT],
            # A file of its own for the weights: ONNX itself ends at 2 GB.
            external_data=True,
            custom_translation_table={ROUNDED: rounded_in_onnx},
            verbose=False,
        )


def _say_casts(program: torch.export.ExportedProgram) -> None:
    """Write down what torch does unasked: tensors of two formats are joined in the wider one.

    ONNX joins what is of one format, and the export leaves it to that.
    """
    aten = torch.ops.aten
    for node in list(program.graph.nodes):
        if node.target in (aten.cat.default, aten.concat.default):
            wider = node.meta["val"].dtype
            for part in [each for each in node.args[0] if each.meta["val"].dtype != wider]:
                with program.graph.inserting_before(node):
                    widened = program.graph.call_function(
                        aten._to_copy.default, (part,), {"dtype": wider}
                    )
                widened.meta["val"] = part.meta["val"].to(wider)
                node.replace_input_with(part, widened)


def _plan(model: Path, dtype: torch.dtype) -> Any:
    """Return the plan of the ONNX file `model`, as a buffer.

    Raises:
        EngineError: TensorRT does not take the model, or cannot build it.
    """
    import tensorrt

    heard = _listener().listen()
    builder = tensorrt.Builder(heard)
    typed = 1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    parser = tensorrt.OnnxParser(network, heard)
    if not parser.parse_from_file(str(model)):
        error = parser.get_error(0)
        why = one_line(EngineError(f"{error.node_operator()}: {error.desc()}"))
        raise EngineError(f"TensorRT cannot read the stage: {why}")
    config = builder.create_builder_config()
    if dtype == torch.float32:
        # On by default: products with ten bits of mantissa are not float32.
        config.clear_flag(tensorrt.BuilderFlag.TF32)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(f"TensorRT cannot build the stage: {heard.told()}")
    return plan


class Execution:
    """Enqueues a plan on torch's current stream, on the memory that the tensors lie in."""

    def __init__(self, engine: Any, device: torch.device) -> None:
        import tensorrt

        self._device = device
        self._heard = _listener()
        # It is told nothing later: the engine lives for as long as its context does.
        self._engine = engine
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"TensorRT has no memory to run in: {self._heard.told()}")
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        output = [n for n in names if engine.get_tensor_mode(n) == tensorrt.TensorIOMode.OUTPUT]
        assert output == [OUTPUT], names
        # In the order of the stage, whatever order the plan has them in.
        self._inputs = [f"input_{i}" for i in range(len(names) - 1)]
        self._shape = tuple(engine.get_tensor_shape(OUTPUT))
        self._dtype = _torch_dtype(engine.get_tensor_dtype(OUTPUT))

    def __call__(self, *tensors: Tensor) -> Tensor:
        """Run the stage; the tensors lie row by row, as `Graph` has them."""
        result = torch.empty(self._shape, dtype=self._dtype, device=self._device)
        for name, tensor in zip([*self._inputs, OUTPUT], [*tensors, result], strict=True):
            assert tensor.is_contiguous(), (name, tensor.stride())
            self._done(self._context.set_tensor_address(name, tensor.data_ptr()))
        stream = torch.cuda.current_stream(self._device).cuda_stream
        self._done(self._context.execute_async_v3(stream))
        return result

    def _done(self, done: bool) -> None:
        if not done:
            raise EngineError(f"TensorRT cannot run its plan: {self._heard.told()}")


def _torch_dtype(dtype: Any) -> torch.dtype:
    import tensorrt

    known = {
        tensorrt.DataType.FLOAT: torch.float32,
        tensorrt.DataType.HALF: torch.float16,
        tensorrt.DataType.BF16: torch.bfloat16,
    }
    return known[dtype]


@cache
def _listener() -> Any:
    """Return the logger of this process: it prints nothing and keeps what went wrong first.

    TensorRT knows one at a time: while something that was made with it lives, it ignores others.
    """
    import tensorrt

    class Listener(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            tensorrt.ILogger.__init__(self)
            self._first = ""

        def listen(self) -> Any:
            """Forget what went wrong before, and return itself."""
            self._first = ""
            return self

        def log(self, severity: Any, msg: str) -> None:
            if severity in (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR):
                self._first = self._first or msg

        def told(self) -> str:
            return one_line(EngineError(self._first or "it does not say why"))

    return Listener()


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what an export says to the authors of models from whoever runs them."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
