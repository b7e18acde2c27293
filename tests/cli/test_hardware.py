import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from streamcam.cli import hardware


class NVMLError(Exception):
    pass


class LibraryNotFound(NVMLError):
    pass


class DriverNotLoaded(NVMLError):
    pass


def fake_nvml(**changes: object) -> SimpleNamespace:
    """Return a fake of pynvml with two GPUs, the second of which is lost."""

    def memory(index: int) -> SimpleNamespace:
        if index:
            raise NVMLError("GPU is lost")
        return SimpleNamespace(total=48 * 2**30, free=40 * 2**30)

    calls = {
        "NVMLError": NVMLError,
        "NVMLError_LibraryNotFound": LibraryNotFound,
        "NVMLError_DriverNotLoaded": DriverNotLoaded,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "570.1",
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetName": lambda index: f"GPU {index}",
    }
    return SimpleNamespace(**calls | changes)


def failing_nvml(error: Exception) -> SimpleNamespace:
    def fail() -> None:
        raise error

    return fake_nvml(nvmlInit=fail)


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.sys, "platform", "linux")


def test_gpus_are_listed_with_their_memory_and_a_lost_one_with_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml())
    working, lost = hardware.accelerators()
    assert working == hardware.Accelerator("GPU 0", 48 * 2**30, 40 * 2**30, "570.1")
    assert lost.problem == "GPU is lost"


@pytest.mark.parametrize("error", [LibraryNotFound(), DriverNotLoaded()])
def test_without_a_driver_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", failing_nvml(error))
    assert hardware.accelerators() == []


def test_an_error_of_the_driver_is_the_problem_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", failing_nvml(NVMLError("Driver/library mismatch")))
    (gpu,) = hardware.accelerators()
    assert gpu.problem == "Driver/library mismatch"


def test_the_cpu_is_shown_with_the_instruction_sets_that_speed_up_a_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = "fpu avx2 avx512f avx512_bf16 amx_bf16"
    monkeypatch.setattr(hardware, "_cpuinfo", lambda: {"model name": "Fast", "flags": flags})
    cpu = hardware.cpu_info()
    assert cpu.name == "Fast"
    assert cpu.features == ("AVX2", "AVX-512", "bf16", "AMX bf16")
    assert cpu.threads >= cpu.cores >= 1


@pytest.mark.parametrize(
    ("backend", "vendor", "names"),
    [
        ("hip", "0x1002", ["AMD GPU 0 (ROCm)", "AMD GPU 1 (ROCm)"]),
        ("xpu", "0x8086", ["Intel GPU 0 (XPU)", "Intel GPU 1 (XPU)"]),
        ("cuda", "0x1002", []),
        ("hip", "0x8086", []),
    ],
)
def test_gpus_of_other_makers_are_listed_where_torch_is_built_for_them(
    backend: str, vendor: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "kfd").touch()
    for card in ("card0", "card0-HDMI-A-1", "card1"):
        device = tmp_path / "sys" / "class" / "drm" / card / "device"
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
    device = tmp_path / "sys" / "class" / "drm" / "card0" / "device"
    (device / "mem_info_vram_total").write_text(str(16 * 2**30))
    (device / "mem_info_vram_used").write_text(str(2**30))
    monkeypatch.setitem(sys.modules, "pynvml", failing_nvml(LibraryNotFound()))
    monkeypatch.setattr(hardware, "ROOT", tmp_path)
    monkeypatch.setattr(hardware, "torch_backends", lambda: frozenset({backend}))
    found = hardware.accelerators()
    assert [gpu.name for gpu in found] == names
    assert [gpu.free for gpu in found] == [15 * 2**30, 0][: len(names)]
