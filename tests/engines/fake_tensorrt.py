"""A fake of TensorRT on onnxruntime: the names, arguments and results of the real module.

They were taken from what its Python bindings 10.3 and 11.4 say of themselves, and are compared
with the real module by `test_tensorrt` wherever that is installed. A plan is the ONNX itself;
tensors are read from and written to the addresses that are given.
"""

import ctypes
import enum
from typing import Any

import numpy as np
import onnx
import onnxruntime

__version__ = "11.4.0.fake"


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 0


class BuilderFlag(enum.Enum):
    TF32 = 0


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0
    TACTIC_DRAM = 1


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    BF16 = 2
    INT64 = 3


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity
    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING

    def __init__(self) -> None:
        self.initialised = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


registered: list[ILogger] = []
"""The first logger of the process, which the real one goes on with whatever it is given later."""


def _registered(logger: Any) -> ILogger:
    # The real one ends the process where a derived class has not called this class's own.
    assert isinstance(logger, ILogger)
    assert logger.initialised
    registered.append(logger)
    return registered[0]


class INetworkDefinition:
    model: onnx.ModelProto


class IProgressMonitor:
    def __init__(self) -> None:
        self.initialised = True

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self.kernels = set(content.decode().split())

    def serialize(self) -> memoryview:
        return memoryview(" ".join(sorted(self.kernels)).encode())


class IBuilderConfig:
    max_aux_streams = -1
    builder_optimization_level = 3
    progress_monitor: Any = None

    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.limits: dict[MemoryPoolType, int] = {}
        self.timings: ITimingCache | None = None

    def clear_flag(self, flag: BuilderFlag) -> None:
        assert isinstance(flag, BuilderFlag)
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.limits[pool] = pool_size

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        # The real one compares the device and the version in the cache.
        if "other-machine" in cache.kernels and not ignore_mismatch:
            return False
        self.timings = cache
        return True


class Builder:
    last: IBuilderConfig
    """With which the last plan was built."""
    timed: list[str]
    """The kernels that were timed for it."""

    def __init__(self, logger: ILogger) -> None:
        self._logger = _registered(logger)

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> memoryview | None:
        Builder.last, Builder.timed = config, []
        operations = sorted({node.op_type for node in network.model.graph.node})
        if "Det" in operations:
            self._logger.log(ILogger.WARNING, "a thing of no matter")
            self._logger.log(ILogger.ERROR, "no kernel for Det")
            return None
        if not self._time(operations, config):
            return None
        return memoryview(network.model.SerializeToString())

    def _time(self, operations: list[str], config: IBuilderConfig) -> bool:
        """Time what the cache does not hold; return whether the monitor let it end."""
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        monitor.phase_start("Timing", "Building", len(operations))
        for step, operation in enumerate(operations):
            if config.timings is None or operation not in config.timings.kernels:
                Builder.timed.append(operation)
            if config.timings is not None:
                config.timings.kernels.add(operation)
            if not monitor.step_complete("Timing", step):
                return False
        monitor.phase_finish("Timing")
        monitor.step_complete("Building", 0)
        monitor.phase_finish("Building")
        return True


class ParserError:
    def __init__(self, node: str, words: str) -> None:
        self._node = node
        self._words = words

    def node_operator(self) -> str:
        return self._node

    def desc(self) -> str:
        return self._words


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        _registered(logger)
        self._network = network
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def parse_from_file(self, model: str) -> bool:
        assert isinstance(model, str)
        self._network.model = onnx.load(model)
        unknown = {n.op_type for n in self._network.model.graph.node} & {"NonZero"}
        self._errors = [ParserError(name, "false") for name in unknown]
        return not unknown


class IExecutionContext:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._addresses: dict[str, int] = {}
        self.streams: list[int] = []

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        self.streams.append(stream_handle)
        if stream_handle < 0:
            return False
        given = {tensor.name: self._at(tensor) for tensor in self._session.get_inputs()}
        [made] = self._session.run(None, given)
        [output] = self._session.get_outputs()
        self._at(output)[...] = made
        return True

    def _at(self, tensor: Any) -> np.ndarray:
        """Return the memory at the address that was set for a tensor."""
        dtype = NUMPY[tensor.type]
        size = int(np.prod(tensor.shape)) * dtype.itemsize
        memory = (ctypes.c_char * size).from_address(self._addresses[tensor.name])
        return np.frombuffer(memory, dtype).reshape(tensor.shape)


NUMPY = {
    "tensor(float)": np.dtype(np.float32),
    "tensor(float16)": np.dtype(np.float16),
    "tensor(int64)": np.dtype(np.int64),
}
TYPES = {
    "tensor(float)": DataType.FLOAT,
    "tensor(float16)": DataType.HALF,
    "tensor(int64)": DataType.INT64,
}


class ICudaEngine:
    def __init__(self, plan: bytes) -> None:
        options = onnxruntime.SessionOptions()
        # It would fuse products in float8 into what it has for integers alone.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = onnxruntime.InferenceSession(
            plan, options, providers=["CPUExecutionProvider"]
        )
        # The real one promises no order.
        self._tensors = [*self._session.get_outputs(), *reversed(self._session.get_inputs())]

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return str(self._tensors[index].name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        made = any(name == tensor.name for tensor in self._session.get_outputs())
        return TensorIOMode.OUTPUT if made else TensorIOMode.INPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._named(name).shape)

    def get_tensor_dtype(self, name: str) -> DataType:
        return TYPES[self._named(name).type]

    def create_execution_context(self) -> IExecutionContext | None:
        return IExecutionContext(self._session)

    def _named(self, name: str) -> Any:
        return next(tensor for tensor in self._tensors if tensor.name == name)


class Runtime:
    engine: type[ICudaEngine] = ICudaEngine

    def __init__(self, logger: ILogger) -> None:
        self._logger = _registered(logger)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            return self.engine(serialized_engine)
        except Exception:
            self._logger.log(ILogger.ERROR, "Serialization assertion plan->header failed")
            return None
