"""Requirements of the engines that can be checked without torch, before a model loads."""

import shutil
from importlib.util import find_spec

from streamcam.errors import EngineError

COMPILERS = ("g++", "clang++", "cl")


def check_engine(name: str, device: str) -> None:
    """Raise EngineError with the remedy if the engine `name` cannot run on `device` here.

    Args:
        name: as in the setting ``acceleration``; engines of other packages check themselves.
        device: type of the device, as torch calls it: cpu, cuda, mps or xpu.
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
    if device != "cuda":
        raise EngineError(f"tensorrt runs on NVIDIA GPUs, not on {device}; choose --device cuda")
    if missing := [name for name in ("tensorrt", "onnx", "onnxscript") if not find_spec(name)]:
        raise EngineError(f'{missing[0]} is not installed; run pip install "streamcam[tensorrt]"')


def _compiled(device: str) -> None:
    if device not in ("cpu", "cuda"):
        raise EngineError(
            f"compiled runs on CPUs and on NVIDIA GPUs, not on {device};"
            " choose --acceleration eager"
        )
    if not any(map(shutil.which, COMPILERS)):
        raise EngineError(
            f"compiled needs a C++ compiler ({' or '.join(COMPILERS)}); install one, or choose"
            " --acceleration eager"
        )


_CHECKS = {"openvino": _openvino, "tensorrt": _tensorrt, "compiled": _compiled}
