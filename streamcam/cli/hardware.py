"""What this machine computes with, found without torch."""

import platform
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

TELLING = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "bf16",
    "amx_bf16": "AMX bf16",
    "amx_int8": "AMX int8",
    "asimd": "NEON",
    "bf16": "bf16",
    "i8mm": "int8",
}
"""What a model on the processor gains from, by the kernel's names."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A graphics processor; memory in bytes."""

    name: str
    memory: int
    free: int
    driver: str
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Processor:
    """The processor: physical cores, memory in bytes."""

    name: str
    cores: int
    threads: int
    memory: int
    features: tuple[str, ...]


def accelerators() -> list[Accelerator]:
    """Return the graphics processors that a model can run on: NVIDIA's, or Apple's."""
    if sys.platform == "darwin" and platform.machine() == "arm64":
        memory = psutil.virtual_memory()
        name = f"{_from_sysctl('machdep.cpu.brand_string')} (Metal)"
        return [Accelerator(name, memory.total, memory.available, platform.mac_ver()[0])]
    return _nvidia()


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
        return [_card(index, driver) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _card(index: int, driver: str) -> Accelerator:
    import pynvml

    try:
        card = pynvml.nvmlDeviceGetHandleByIndex(index)
        memory = pynvml.nvmlDeviceGetMemoryInfo(card)
        name = str(pynvml.nvmlDeviceGetName(card))
        return Accelerator(name, int(memory.total), int(memory.free), driver)
    except pynvml.NVMLError as error:
        return Accelerator(f"NVIDIA {index}", 0, 0, driver, str(error))


def processor() -> Processor:
    """Return the processor and what it can do that matters to a model."""
    told = _cpuinfo()
    name = told.get("model name") or _from_sysctl("machdep.cpu.brand_string")
    flags = f"{told.get('flags', '')} {told.get('Features', '')}".split()
    features = dict.fromkeys(word for flag, word in TELLING.items() if flag in flags)
    threads = psutil.cpu_count() or 1
    return Processor(
        name or platform.processor() or platform.machine(),
        psutil.cpu_count(logical=False) or threads,
        threads,
        psutil.virtual_memory().total,
        tuple(features),
    )


def _cpuinfo() -> dict[str, str]:
    """Return what Linux says of the first processor."""
    with suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
        return dict(re.findall(r"^([^\t\n:]+?)\s*: (.*)$", first, re.MULTILINE))
    return {}


def _from_sysctl(name: str) -> str:
    if sys.platform != "darwin":
        return ""
    with suppress(OSError, subprocess.SubprocessError):
        asked = ["/usr/sbin/sysctl", "-n", name]
        return subprocess.run(
            asked, capture_output=True, text=True, timeout=5, check=True
        ).stdout.strip()
    return ""
