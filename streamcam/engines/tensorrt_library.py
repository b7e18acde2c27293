"""The two libraries with TensorRT's Python API: TensorRT itself, and TensorRT for RTX."""

import importlib
import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from streamcam.errors import EngineError, one_line

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Library:
    """A library with TensorRT's Python API."""

    engine: str
    """Name of the engine, and of the extra that installs it."""
    module: str
    title: str
    times_kernels: bool
    """Whether it chooses kernels by timing them while it builds; else it compiles them on first
    use, and has a cache of those."""

    def load(self) -> Any:
        """Return its Python module."""
        return importlib.import_module(self.module)

    def check(self, device: torch.device) -> None:
        """Raise EngineError if the library is not made for the GPU `device`."""
        if self.times_kernels or device.type != "cuda":
            return  # Made for all that torch runs on; and a CPU can build for cards elsewhere.
        known = self.load().ComputeCapability
        major, minor = torch.cuda.get_device_capability(device)
        names = sorted(
            (name for name in dir(known) if name.startswith("SM")), key=lambda name: int(name[2:])
        )
        if f"SM{major}{minor}" not in names:
            capabilities = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in names)
            raise EngineError(
                f"{self.title} is not made for {torch.cuda.get_device_name(device)} (compute"
                f" capability {major}.{minor}, where it knows {capabilities}); choose"
                " --acceleration tensorrt, or compiled"
            )


TENSORRT = Library("tensorrt", "tensorrt", "TensorRT", times_kernels=True)
TENSORRT_RTX = Library("tensorrt-rtx", "tensorrt_rtx", "TensorRT for RTX", times_kernels=False)


@cache
def logger_of(library: Library) -> Any:
    """Return the logger of a library in this process: it stores the first error.

    Errors and warnings go to our log, as details. A library uses one logger at a time: while an
    object created with it lives, it ignores all others.
    """
    module = library.load()
    errors = (module.ILogger.INTERNAL_ERROR, module.ILogger.ERROR)

    class FirstErrorLogger(module.ILogger):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self._first = ""

        def cleared(self) -> Any:
            """Forget the stored error, and return the logger."""
            self._first = ""
            return self

        def log(self, severity: Any, msg: str) -> None:
            if severity in errors:
                self._first = self._first or msg
            if severity in errors or severity == module.ILogger.WARNING:
                log.debug("%s: %s", library.title, msg)

        def first_error(self) -> str:
            return one_line(EngineError(self._first or "it gives no reason"))

    return FirstErrorLogger()
