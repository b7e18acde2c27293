"""The fake of TensorRT as TensorRT for RTX: it compiles kernels on first use, and stores them."""

import enum

import onnxruntime

from tests.engines import fake_tensorrt
from tests.engines.fake_tensorrt import (  # noqa: F401
    DataType,
    ILogger,
    INetworkDefinition,
    IProgressMonitor,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    OnnxParser,
    ParserError,
    TensorIOMode,
)

__version__ = "1.7.1.fake"

driver = "580"
"""The version that kernels are compiled for."""
compiled: list[str] = []
"""Plans whose kernels were compiled, each time they were."""


class BuilderFlag(enum.Enum):
    TF32 = 0
    REQUIRE_USER_ALLOCATION = 1


class ComputeCapability(enum.Enum):
    CURRENT = 0
    NONE = 1
    SM75 = 2
    SM89 = 3
    SM120 = 4


class IBuilderConfig(fake_tensorrt.IBuilderConfig):
    def __init__(self) -> None:
        super().__init__()
        self.flags = {BuilderFlag.TF32}  # type: ignore[arg-type]

    def clear_flag(self, flag: BuilderFlag) -> None:  # type: ignore[override]
        assert isinstance(flag, BuilderFlag)
        self.flags.discard(flag)  # type: ignore[arg-type]

    def set_flag(self, flag: BuilderFlag) -> None:
        assert isinstance(flag, BuilderFlag)
        self.flags.add(flag)  # type: ignore[arg-type]


class Builder(fake_tensorrt.Builder):
    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()


class IRuntimeCache:
    def __init__(self) -> None:
        self.content = b""

    def serialize(self) -> memoryview:
        return memoryview(self.content)

    def deserialize(self, blob: bytes) -> bool:
        if blob != f"kernels for {driver}".encode():
            return False
        self.content = blob
        return True


class IRuntimeConfig:
    def __init__(self) -> None:
        self.cache: IRuntimeCache | None = None

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self.cache = cache
        return True


class IExecutionContext(fake_tensorrt.IExecutionContext):
    def __init__(self, session: onnxruntime.InferenceSession, config: IRuntimeConfig) -> None:
        super().__init__(session)
        self._cache = config.cache

    def execute_async_v3(self, stream_handle: int) -> bool:
        if self._cache is not None and not self._cache.content:
            compiled.append(driver)
            self._cache.content = f"kernels for {driver}".encode()
        return super().execute_async_v3(stream_handle)


class ICudaEngine(fake_tensorrt.ICudaEngine):
    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig()

    def create_execution_context(  # type: ignore[override]
        self, runtime_config: IRuntimeConfig
    ) -> IExecutionContext:
        return IExecutionContext(self._session, runtime_config)


class Runtime(fake_tensorrt.Runtime):
    engine = ICudaEngine
