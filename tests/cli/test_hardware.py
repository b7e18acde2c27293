import sys
from types import SimpleNamespace

import pytest

from streamcam.cli import hardware


class NVMLError(Exception):
    pass


class NotFound(NVMLError):
    pass


class NotLoaded(NVMLError):
    pass


def nvml(**changes: object) -> SimpleNamespace:
    """Return a stand-in for NVIDIA's library, with two cards of which one fell off the bus."""

    def memory(index: int) -> SimpleNamespace:
        if index:
            raise NVMLError("GPU is lost")
        return SimpleNamespace(total=48 * 2**30, free=40 * 2**30)

    calls = {
        "NVMLError": NVMLError,
        "NVMLError_LibraryNotFound": NotFound,
        "NVMLError_DriverNotLoaded": NotLoaded,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: "570.1",
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetName": lambda index: f"Card {index}",
    }
    return SimpleNamespace(**calls | changes)


def refusing(error: Exception) -> SimpleNamespace:
    def refuse() -> None:
        raise error

    return nvml(nvmlInit=refuse)


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.sys, "platform", "linux")


def test_cards_are_told_with_their_memory_and_the_broken_one_with_its_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    whole, broken = hardware.accelerators()
    assert whole == hardware.Accelerator("Card 0", 48 * 2**30, 40 * 2**30, "570.1")
    assert broken.problem == "GPU is lost"


@pytest.mark.parametrize("error", [NotFound(), NotLoaded()])
def test_without_a_driver_there_is_no_card(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", refusing(error))
    assert hardware.accelerators() == []


def test_a_driver_in_trouble_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", refusing(NVMLError("Driver/library mismatch")))
    (card,) = hardware.accelerators()
    assert card.problem == "Driver/library mismatch"


def test_the_processor_is_told_with_what_a_model_gains_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = "fpu avx2 avx512f avx512_bf16 amx_bf16"
    monkeypatch.setattr(hardware, "_cpuinfo", lambda: {"model name": "Fast", "flags": flags})
    cpu = hardware.processor()
    assert cpu.name == "Fast"
    assert cpu.features == ("AVX2", "AVX-512", "bf16", "AMX bf16")
    assert cpu.threads >= cpu.cores >= 1
