"""GPUs and CPU of this machine, queried without torch."""

import platform
import re
import subprocess
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from streamcam.runtime.device_presence import torch_backends

CPU_FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "bf16",
    "amx_bf16": "AMX bf16",
    "amx_int8": "AMX int8",
    "asimd": "NEON",
    "bf16": "bf16",
    "i8mm": "int8",
}
"""Kernel's name of each instruction set that speeds a model up, and the name to show."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU; memory in bytes."""

    name: str
    memory: int
    free: int
    driver: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class CpuInfo:
    """The CPU: physical cores, hardware threads, RAM in bytes, instruction sets."""

    name: str
    cores: int
    threads: int
    memory: int
    features: tuple[str, ...]


ROOT = Path("/")


def accelerators() -> list[Accelerator]:
    """Return the GPUs that a model can run on: NVIDIA's, Apple's, else AMD's or Intel's.

    The last two count only where the installed torch is built for them.
    """
    if sys.platform == "darwin" and platform.machine() == "arm64":
        memory = psutil.virtual_memory()
        name = f"{_from_sysctl('machdep.cpu.brand_string')} (Metal)"
        return [Accelerator(name, memory.total, memory.available, platform.mac_ver()[0])]
    return _nvidia() or _amd_or_intel(torch_backends())


def _amd_or_intel(backends: Collection[str]) -> list[Accelerator]:
    if "hip" in backends and (ROOT / "dev/kfd").exists():
        return _from_drm("AMD", "0x1002", "ROCm")
    return _from_drm("Intel", "0x8086", "XPU") if "xpu" in backends else []


def _from_drm(maker: str, vendor: str, backend: str) -> list[Accelerator]:
    """Return the GPUs of a vendor that Linux lists; 0 for memory that it does not tell."""
    found = []
    for folder in sorted((ROOT / "sys/class/drm").glob("card[0-9]*/device")):
        if _read(folder / "vendor") == vendor and "-" not in folder.parent.name:
            total = int(_read(folder / "mem_info_vram_total") or 0)
            used = int(_read(folder / "mem_info_vram_used") or 0)
            number = folder.parent.name.removeprefix("card")
            name = f"{maker} GPU {number} ({backend})"
            found.append(Accelerator(name, total, total - used, platform.release()))
    return found


def _read(file: Path) -> str:
    with suppress(OSError):
        return file.read_text().strip()
    return ""


def _nvidia() -> list[Accelerator]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return []
    except pynvml.NVMLError as error:
        return [Accelerator("NVIDIA", 0, 0, "", str(error))]
    try:
        driver = str(pynvml.nvmlSystemGetDriverVersion())
        return [_gpu(index, driver) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int, driver: str) -> Accelerator:
    import pynvml

    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        name = str(pynvml.nvmlDeviceGetName(handle))
        return Accelerator(name, int(memory.total), int(memory.free), driver)
    except pynvml.NVMLError as error:
        return Accelerator(f"NVIDIA {index}", 0, 0, driver, str(error))


def cpu_info() -> CpuInfo:
    """Return the CPU, with the instruction sets that speed a model up."""
    info = _cpuinfo()
    name = info.get("model name") or _from_sysctl("machdep.cpu.brand_string")
    flags = f"{info.get('flags', '')} {info.get('Features', '')}".split()
    features = dict.fromkeys(shown for flag, shown in CPU_FEATURES.items() if flag in flags)
    threads = psutil.cpu_count() or 1
    return CpuInfo(
        name or platform.processor() or platform.machine(),
        psutil.cpu_count(logical=False) or threads,
        threads,
        psutil.virtual_memory().total,
        tuple(features),
    )


def _cpuinfo() -> dict[str, str]:
    """Return the fields of the first CPU in ``/proc/cpuinfo``; none where there is no such file."""
    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
        return dict(re.findall(r"^([^\t\n:]+?)\s*: (.*)$", first, re.MULTILINE))
    return {}


def _from_sysctl(name: str) -> str:
    if sys.platform != "darwin":
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        command = ["/usr/sbin/sysctl", "-n", name]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    return ""
