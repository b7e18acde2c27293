"""Which engine runs the stages: what was asked for, or the fastest that is here."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import torch

from streamcam.accelerate.engines import Engine
from streamcam.errors import EngineError

NATIVE_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""The instructions that compute in bfloat16, as torch calls them; the last is ARM's."""


class Choice(NamedTuple):
    """How the stages run, and why so."""

    engine: Engine | None
    """None runs them as they are written."""
    why: str
    """A line for the user, from the engine's name on."""


def computes_in_bfloat16() -> bool:
    """Return whether this processor has bfloat16 of its own, and torch makes use of it."""
    able = torch.cpu.get_capabilities()
    native = any(able.get(name, False) for name in NATIVE_BFLOAT16)
    # Without this library torch's bfloat16 is hundreds of times slower than its float32.
    return native and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def choose(acceleration: str, device: str, dtype: torch.dtype) -> Choice:
    """Return the choice for the torch `device` of that kind, computing in `dtype`.

    Raises:
        EngineError: what was asked for cannot run here.
    """
    if acceleration == "auto":
        return _auto(device, dtype)
    if acceleration == "eager":
        return Choice(None, "eager")
    return Choice(ENGINES[acceleration](device, dtype), f"{acceleration}, as asked")


def _auto(device: str, dtype: torch.dtype) -> Choice:
    if device not in FASTEST:
        return Choice(None, f"eager, since there are no engines for {device}")
    name = FASTEST[device]
    try:
        return Choice(ENGINES[name](device, dtype), f"{name}, the fastest here")
    except EngineError as error:
        return Choice(None, f"eager, since {error}")


def _openvino(device: str, dtype: torch.dtype) -> Engine:
    if not find_spec("openvino"):
        raise EngineError('openvino is not installed; run pip install "streamcam[openvino]"')
    if device not in ("cpu", "xpu"):
        raise EngineError(
            f"openvino runs on processors and on Intel's graphics, not on {device};"
            " choose --device cpu or --device xpu"
        )
    from streamcam.accelerate import openvino

    return openvino.OpenVino(openvino.GPU if device == "xpu" else openvino.CPU, dtype)


FASTEST = {"cpu": "openvino", "cuda": "compiled"}
"""The engine to take on each kind of device."""
ENGINES: dict[str, Callable[[str, torch.dtype], Engine]] = {"openvino": _openvino}
"""What makes each engine for a kind of device and a number format, or says why it cannot run."""
