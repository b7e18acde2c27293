"""Requirements of the engines that can be checked without torch, before a model loads."""

import shutil
from importlib.util import find_spec

from streamcam.errors import EngineError

COMPILERS = ("g++", "clang++", "cl")
FLOAT8_ENGINES = ("tensorrt", "tensorrt-rtx")


def check_engine(name: str, device: str) -> None:
    """Raise EngineError with the remedy if the engine `name` cannot run on `device` here.

    Args:
        name: as in the setting ``acceleration``; engines of other packages check themselves.
        device: type of the device, as torch calls it: cpu, cuda, mps or xpu; and rocm.
    """
    if check := _CHECKS.get(name):
        check(device)


def is_offered(name: str) -> bool:
    """Return whether ``auto`` mentions the engine `name` where it cannot run.

    One that takes another's place is only mentioned where somebody has installed it.
    """
    return name != "tensorrt-rtx" or find_spec("tensorrt_rtx") is not None


def check_float8(acceleration: str) -> None:
    """Raise EngineError if `acceleration` names an engine that does not compute in float8."""
    if acceleration not in ("auto", *FLOAT8_ENGINES):
        raise EngineError(
            f"{acceleration} does not compute in float8; choose --acceleration"
            f" {' or '.join(FLOAT8_ENGINES)}, or --dtype auto"
        )


def float8_engine(acceleration: str = "auto") -> str:
    """Return the engine for float8: the one asked for, else the one that is installed."""
    if acceleration in FLOAT8_ENGINES:
        return acceleration
    only_rtx = find_spec("tensorrt_rtx") and not find_spec("tensorrt")
    return "tensorrt-rtx" if only_rtx else "tensorrt"


def check_int8(acceleration: str, device: str) -> None:
    """Raise EngineError with the remedy if int8 cannot run on `acceleration` and `device` here."""
    if acceleration not in ("auto", "openvino"):
        raise EngineError(
            f"{acceleration} does not compute in int8; choose --acceleration openvino, or"
            " --dtype auto"
        )
    if device != "cpu":
        raise EngineError(
            f"int8 is for CPUs, not for {device}; choose --device cpu, or --dtype auto"
        )
    _openvino(device)
    if not find_spec("nncf"):
        raise EngineError(
            'int8 needs nncf, which is not installed; run pip install "streamcam[openvino]"'
        )


def _openvino(device: str) -> None:
    if not find_spec("openvino"):
        raise EngineError('openvino is not installed; run pip install "streamcam[openvino]"')
    if device not in ("cpu", "xpu"):
        raise EngineError(
            f"openvino runs on CPUs and on Intel GPUs, not on {device};"
            " choose --device cpu or --device xpu"
        )


def _tensorrt(device: str) -> None:
    _tensorrt_library("tensorrt", "tensorrt", device)


def _tensorrt_rtx(device: str) -> None:
    _tensorrt_library("tensorrt-rtx", "tensorrt_rtx", device)


def _tensorrt_library(name: str, module: str, device: str) -> None:
    if device != "cuda":
        raise EngineError(f"{name} runs on NVIDIA GPUs, not on {device}; choose --device cuda")
    if missing := [each for each in (module, "onnx", "onnxscript") if not find_spec(each)]:
        raise EngineError(f'{missing[0]} is not installed; run pip install "streamcam[{name}]"')


def _compiled(device: str) -> None:
    if device not in ("cpu", "cuda", "rocm"):
        raise EngineError(
            f"compiled runs on CPUs and on NVIDIA GPUs, not on {device};"
            " choose --acceleration eager"
        )
    if not any(map(shutil.which, COMPILERS)):
        raise EngineError(
            f"compiled needs a C++ compiler ({' or '.join(COMPILERS)}); install one, or choose"
            " --acceleration eager"
        )


def _graph(device: str) -> None:
    if device != "cuda":
        raise EngineError(
            f"graph records frames as CUDA graphs, for NVIDIA GPUs, not {device};"
            " choose --acceleration eager"
        )


_CHECKS = {
    "graph": _graph,
    "openvino": _openvino,
    "tensorrt": _tensorrt,
    "tensorrt-rtx": _tensorrt_rtx,
    "compiled": _compiled,
}
