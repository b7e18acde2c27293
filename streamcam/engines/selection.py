"""Choice of the engines that run the stages: the one asked for, or the fastest available."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from streamcam.engines.device_info import is_nvidia_gpu
from streamcam.engines.dtypes import FLOAT8, INT8
from streamcam.engines.engine import Engine
from streamcam.engines.requirements import (
    check_engine,
    check_float8,
    check_int8,
    float8_engine,
    is_offered,
)
from streamcam.engines.timings import Timings
from streamcam.errors import EngineError
from streamcam.plugins import load_plugin, plugin_names
from streamcam.settings.config import ENGINE_PLUGINS

MakeEngine = Callable[[torch.device, torch.dtype], Engine]

NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""The CPU instructions that compute in bfloat16, as torch calls them; the last is ARM's."""

GRAPH = "graph"
"""The acceleration without an engine: frames as they are written, recorded as CUDA graphs."""

MIN_FLOAT8_CAPABILITY = (8, 9)
"""The least compute capability of an NVIDIA GPU that computes in float8."""


class EngineChoice(NamedTuple):
    """The engines that run the stages, and the reason for them."""

    engines: tuple[Engine, ...]
    """In the order of preference; without one, stages run as they are written."""
    reason: str
    """A line for the user, which begins with the engine's name."""
    graphs: bool = False
    """Whether whole frames are recorded as CUDA graphs, on engines or as the stages are written."""

    @property
    def name(self) -> str:
        """Name of the preferred engine."""
        if self.engines:
            return self.engines[0].name
        return GRAPH if self.graphs else "eager"


def computes_in_bfloat16() -> bool:
    """Return whether this CPU has instructions for bfloat16 that torch makes use of."""
    capabilities = torch.cpu.get_capabilities()
    native = any(capabilities.get(name, False) for name in NATIVE_BFLOAT16)
    # Without this library torch's bfloat16 is hundreds of times slower than its float32.
    return native and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def choose_engines(
    acceleration: str, device: torch.device, dtype: torch.dtype, measured: Timings | None = None
) -> EngineChoice:
    """Return the engines for stages on `device` that compute in `dtype`.

    ``auto`` takes the fastest of those that were `measured`, else the one that usually is.

    Raises:
        EngineError: the engine asked for cannot run here.
        StreamcamError: the package that brings the engine asked for cannot be loaded.
    """
    if choose := {FLOAT8: _choose_for_float8, INT8: _choose_for_int8}.get(dtype):
        return choose(acceleration, device)
    if acceleration == "auto":
        return _choose_fastest(device, dtype, measured or {})
    if acceleration == "eager":
        return EngineChoice((), "eager")
    if acceleration == GRAPH:
        check_engine(GRAPH, kind_of(device))
        return EngineChoice((), "graph, as asked", graphs=True)
    graphs = kind_of(device) == "cuda"
    is_plugin = acceleration in plugin_names(ENGINE_PLUGINS)
    if acceleration in ENGINES:
        shadows = "; an installed package has an engine of that name too, which is not used"
        engine = ENGINES[acceleration](device, dtype)
        reason = f"{acceleration}, as asked{shadows if is_plugin else ''}"
        return EngineChoice((engine,), reason, graphs)
    engine = load_plugin(ENGINE_PLUGINS, acceleration)(device, dtype)
    return EngineChoice((engine,), f"{acceleration}, as asked, from an installed package", graphs)


def _choose_fastest(device: torch.device, dtype: torch.dtype, measured: Timings) -> EngineChoice:
    kind = kind_of(device)
    if kind not in FASTEST:
        return EngineChoice(
            (), f"eager, since there are no engines for {kind}, and graph needs an NVIDIA GPU"
        )
    unavailable: list[str] = []
    # Engines that were not measured keep their usual order, as the sort is stable.
    for name in sorted(FASTEST[kind], key=lambda name: measured.get(name, float("inf"))):
        if not is_offered(name):
            continue
        try:
            engines = () if name == GRAPH else (ENGINES[name](device, dtype),)
        except EngineError as error:
            unavailable.append(str(error))
        else:
            since = f", since {'; '.join(unavailable)}" if unavailable else ""
            basis = f"the fastest here, as measured: {_listed(measured)}"
            if name not in measured:
                basis = "usually the fastest here"
            reason = f"{name}, {basis}{since}"
            return EngineChoice(engines, reason, graphs=kind == "cuda")
    return EngineChoice((), f"eager, since {'; '.join(unavailable)}")


def kind_of(device: torch.device) -> str:
    """Return the kind of `device`: its type, which torch calls cuda for AMD's GPUs as well."""
    return "rocm" if device.type == "cuda" and not is_nvidia_gpu(device) else device.type


def _choose_for_int8(acceleration: str, device: torch.device) -> EngineChoice:
    check_int8(acceleration, device.type)
    engines = tuple(_openvino(device, dtype) for dtype in (INT8, torch.float32))
    return EngineChoice(engines, "openvino, which alone computes in it; the rest as float32")


def _choose_for_float8(acceleration: str, device: torch.device) -> EngineChoice:
    check_float8(acceleration)
    name = float8_engine(acceleration)
    engines = tuple(ENGINES[name](device, dtype) for dtype in (FLOAT8, torch.float16))
    if (capability := torch.cuda.get_device_capability(device)) < MIN_FLOAT8_CAPABILITY:
        raise EngineError(
            f"{torch.cuda.get_device_name(device)} does not compute in float8 (compute capability"
            f" {'.'.join(map(str, capability))}, where"
            f" {'.'.join(map(str, MIN_FLOAT8_CAPABILITY))} does); choose --dtype float16"
        )
    reason = f"{name}, which computes in it; the rest as float16"
    return EngineChoice(engines, reason, graphs=True)


def _listed(measured: Timings) -> str:
    by_time = sorted(measured.items(), key=lambda item: item[1])
    return ", ".join(f"{name} {ms:.1f} ms" for name, ms in by_time)


def _openvino(device: torch.device, dtype: torch.dtype) -> Engine:
    check_engine("openvino", device.type)
    from streamcam.engines import openvino

    return openvino.OpenVinoEngine(openvino.GPU if device.type == "xpu" else openvino.CPU, dtype)


def _tensorrt(device: torch.device, dtype: torch.dtype) -> Engine:
    check_engine("tensorrt", device.type)
    from streamcam.engines.tensorrt import TensorRtEngine

    return TensorRtEngine(device, dtype)


def _tensorrt_rtx(device: torch.device, dtype: torch.dtype) -> Engine:
    check_engine("tensorrt-rtx", device.type)
    from streamcam.engines.tensorrt import TensorRtEngine
    from streamcam.engines.tensorrt_library import TENSORRT_RTX

    return TensorRtEngine(device, dtype, TENSORRT_RTX)


def _compiled(device: torch.device, dtype: torch.dtype) -> Engine:
    check_engine("compiled", device.type)
    from streamcam.engines.compiled import CompiledEngine

    return CompiledEngine(device, dtype)


FASTEST = {
    "cpu": ("openvino", "compiled"),
    "cuda": ("tensorrt", "tensorrt-rtx", "compiled", GRAPH),
    "rocm": ("compiled",),
}
"""The accelerations to try on each kind of device, usually the fastest first."""
ENGINES: dict[str, MakeEngine] = {
    "openvino": _openvino,
    "tensorrt": _tensorrt,
    "tensorrt-rtx": _tensorrt_rtx,
    "compiled": _compiled,
}
"""A function per engine that makes it for a device and a dtype.

It raises an EngineError with the reason where the engine cannot run there. Installed packages add
such functions as entry points of the group `ENGINE_PLUGINS`; they are used only when asked for.
"""
