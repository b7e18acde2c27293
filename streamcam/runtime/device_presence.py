"""Presence of the devices that a model can run on, found out without torch."""

import platform
import re
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from streamcam.settings.environment import visible_gpus

ROOT = Path("/")
BACKENDS = ("cuda", "hip", "xpu")
"""GPUs that torch is built for: NVIDIA's, AMD's, Intel's; torch calls the first two ``cuda``."""


def device_kind(device: str) -> str:
    """Return cuda, mps, xpu or cpu for the setting `device`: for ``auto`` what torch will take."""
    if device != "auto":
        return device.partition(":")[0]
    backends = torch_backends()
    if nvidia_gpus(backends) or _has_amd_gpu(backends):
        return "cuda"
    if _is_apple_silicon():
        return "mps"
    return "xpu" if _has_intel_gpu(backends) else "cpu"


def is_certain(device: str) -> bool:
    """Return whether `device`, as in the setting, is here for sure; else only torch can say."""
    kind, _, index = device.partition(":")
    backends = torch_backends()
    if kind == "cuda":
        return nvidia_gpus(backends) > int(index or 0)
    if kind == "xpu":
        return _has_intel_gpu(backends)
    return kind in ("auto", "cpu") or (kind == "mps" and _is_apple_silicon())


def is_supported(device: str) -> bool:
    """Return whether the installed torch and this system could use such a device at all."""
    kind = device.partition(":")[0]
    if kind == "mps":
        return _is_apple_silicon()
    wanted = {"cuda": {"cuda", "hip"}, "xpu": {"xpu"}}.get(kind)
    return wanted is None or bool(wanted & torch_backends())


def nvidia_gpus(backends: frozenset[str]) -> int:
    """Return the number of NVIDIA GPUs that a torch built for `backends` sees."""
    if "cuda" not in backends:
        return 0
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            count = int(pynvml.nvmlDeviceGetCount())
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return 0
    visible = visible_gpus()
    return count if visible is None else min(count, len(visible))


def torch_backends() -> frozenset[str]:
    """Return the GPUs that the installed torch is built for, as its own version file says."""
    with suppress(OSError, ValueError):
        spec = find_spec("torch")
        folders = (spec.submodule_search_locations if spec else None) or []
        for folder in folders:
            text = (Path(folder) / "version.py").read_text(encoding="utf-8")
            built = re.findall(r"^(\w+)\b[^=\n]*= *['\"]", text, re.MULTILINE)
            return frozenset(built) & frozenset(BACKENDS)
    return frozenset(BACKENDS)


def _has_amd_gpu(backends: frozenset[str]) -> bool:
    return "hip" in backends and (ROOT / "dev/kfd").exists()


def _has_intel_gpu(backends: frozenset[str]) -> bool:
    return "xpu" in backends and any((ROOT / "dev/dri").glob("renderD*"))


def _is_apple_silicon() -> bool:
    return sys.platform == "darwin" and platform.machine() == "arm64"
