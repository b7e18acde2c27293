"""Requirements of the engines that can be checked without torch, before a model loads."""

import shutil
from importlib.util import find_spec

from streamcam.errors import EngineError

COMPILERS = ("g++", "clang++", "cl")


def check_engine(name: str, device: str) -> None:
    """Raise EngineError with the remedy if the engine `name` cannot run on `device` here.

    Args:
        name: as in the setting ``acceleration``; engines of other packages check themselves.
        device: type of the device, as torch calls it: cpu, cuda, mps or xpu; and rocm.
    """
    if check := _CHECKS.get(name):
        check(device)


def check_float8(acceleration: str) -> None:
    """Raise EngineError if `acceleration` names an engine that does not compute in float8."""
    if acceleration not in ("auto", "tensorrt"):
        raise EngineError(
            f"{acceleration} does not compute in float8; choose --acceleration tensorrt, or"
            " --dtype auto"
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
    if device != "cuda":
        raise EngineError(f"tensorrt runs on NVIDIA GPUs, not on {device}; choose --device cuda")
    if missing := [name for name in ("tensorrt", "onnx", "onnxscript") if not find_spec(name)]:
        raise EngineError(f'{missing[0]} is not installed; run pip install "streamcam[tensorrt]"')


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


_CHECKS = {"graph": _graph, "openvino": _openvino, "tensorrt": _tensorrt, "compiled": _compiled}
