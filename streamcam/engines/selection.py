"""Which engine runs the stages: what was asked for, or the fastest that is here."""

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import torch

from streamcam.engines.dtypes import FLOAT8
from streamcam.engines.engine import Engine
from streamcam.engines.timings import Timings
from streamcam.errors import EngineError

NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""The instructions that compute in bfloat16, as torch calls them; the last is ARM's."""

HAS_FLOAT8 = (8, 9)
"""The least compute capability of NVIDIA's cards that compute in float8."""

COMPILERS = ("g++", "clang++", "cl")


class Choice(NamedTuple):
    """How the stages run, and why so."""

    engines: tuple[Engine, ...]
    """In the order of preference; none runs them as they are written."""
    why: str
    """A line for the user, from the engine's name on."""


def computes_in_bfloat16() -> bool:
    """Return whether this processor has bfloat16 of its own, and torch makes use of it."""
    able = torch.cpu.get_capabilities()
    native = any(able.get(name, False) for name in NATIVE_BFLOAT16)
    # Without this library torch's bfloat16 is hundreds of times slower than its float32.
    return native and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def choose(
    acceleration: str, device: torch.device, dtype: torch.dtype, measured: Timings | None = None
) -> Choice:
    """Return the choice for stages on `device`, computing in `dtype`.

    ``auto`` goes by the speeds that were `measured`, else by which is the fastest as a rule.

    Raises:
        EngineError: what was asked for cannot run here.
    """
    if dtype == FLOAT8:
        return _in_float8(acceleration, device)
    if acceleration == "auto":
        return _auto(device, dtype, measured or {})
    if acceleration == "eager":
        return Choice((), "eager")
    return Choice((ENGINES[acceleration](device, dtype),), f"{acceleration}, as asked")


def _auto(device: torch.device, dtype: torch.dtype, measured: Timings) -> Choice:
    if device.type not in FASTEST:
        return Choice((), f"eager, since there are no engines for {device.type}")
    missing: list[str] = []
    # As a rule where nothing was measured: a sort keeps the order of equals.
    for name in sorted(FASTEST[device.type], key=lambda name: measured.get(name, float("inf"))):
        try:
            engine = ENGINES[name](device, dtype)
        except EngineError as error:
            missing.append(str(error))
        else:
            since = f", since {'; '.join(missing)}" if missing else ""
            told = f": {_told(measured)}, measured" if name in measured else " as a rule"
            return Choice((engine,), f"{name}, the fastest here{told}{since}")
    return Choice((), f"eager, since {'; '.join(missing)}")


def _in_float8(acceleration: str, device: torch.device) -> Choice:
    if acceleration not in ("auto", "tensorrt"):
        raise EngineError(
            f"{acceleration} does not compute in float8; choose --acceleration tensorrt, or"
            " --dtype auto"
        )
    engines = tuple(_tensorrt(device, dtype) for dtype in (FLOAT8, torch.float16))
    if (able := torch.cuda.get_device_capability(device)) < HAS_FLOAT8:
        raise EngineError(
            f"{torch.cuda.get_device_name(device)} does not compute in float8 (compute capability"
            f" {'.'.join(map(str, able))}, where {'.'.join(map(str, HAS_FLOAT8))} does); choose"
            " --dtype float16"
        )
    return Choice(engines, "tensorrt, which alone computes in it; the rest as float16")


def _told(measured: Timings) -> str:
    in_order = sorted(measured.items(), key=lambda each: each[1])
    return ", ".join(f"{name} {ms:.1f} ms" for name, ms in in_order)


def _openvino(device: torch.device, dtype: torch.dtype) -> Engine:
    if not find_spec("openvino"):
        raise EngineError('openvino is not installed; run pip install "streamcam[openvino]"')
    if device.type not in ("cpu", "xpu"):
        raise EngineError(
            f"openvino runs on processors and on Intel's graphics, not on {device.type};"
            " choose --device cpu or --device xpu"
        )
    from streamcam.engines import openvino

    return openvino.OpenVino(openvino.GPU if device.type == "xpu" else openvino.CPU, dtype)


def _tensorrt(device: torch.device, dtype: torch.dtype) -> Engine:
    if device.type != "cuda":
        raise EngineError(
            f"tensorrt runs on NVIDIA's cards, not on {device.type}; choose --device cuda"
        )
    if missing := [name for name in ("tensorrt", "onnx", "onnxscript") if not find_spec(name)]:
        raise EngineError(f'{missing[0]} is not installed; run pip install "streamcam[tensorrt]"')
    from streamcam.engines.tensorrt import TensorRt

    return TensorRt(device, dtype)


def _compiled(device: torch.device, dtype: torch.dtype) -> Engine:
    if device.type not in ("cpu", "cuda"):
        raise EngineError(
            f"compiled runs on processors and on NVIDIA's cards, not on {device.type};"
            " choose --acceleration eager"
        )
    if not any(map(shutil.which, COMPILERS)):
        raise EngineError(
            f"compiled needs a C++ compiler ({' or '.join(COMPILERS)}); install one, or choose"
            " --acceleration eager"
        )
    from streamcam.engines.compiled import Compiled

    return Compiled(device, dtype)


FASTEST = {"cpu": ("openvino", "compiled"), "cuda": ("tensorrt", "compiled")}
"""The engines to take on each kind of device, the first that can run there."""
ENGINES: dict[str, Callable[[torch.device, torch.dtype], Engine]] = {
    "openvino": _openvino,
    "tensorrt": _tensorrt,
    "compiled": _compiled,
}
"""What makes each engine for a device and a number format, or says why it cannot run there."""
