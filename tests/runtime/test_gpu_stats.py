"""The GPU whose memory and power are shown is the one that the engine runs on."""

import sys
from types import SimpleNamespace

import pytest

from streamcam.runtime.gpu_stats import GpuStats, read_gpu
from tests.runtime.broadcast_helpers import until

UUIDS = ("GPU-1111", "GPU-2222", "MIG-3333")
"""In NVML's order, which is not torch's."""


class NVMLError(Exception):
    """As pynvml raises it."""


class FakeNvml(SimpleNamespace):
    """A pynvml with GPUs of 1, 2 and 3 bytes and watts; it may fail to report power."""

    NVMLError = NVMLError
    reports_power = True

    def nvmlInit(self) -> None:
        return

    def nvmlDeviceGetCount(self) -> int:
        return len(UUIDS)

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        if uuid not in UUIDS:
            raise NVMLError("Not Found")
        return UUIDS.index(uuid) + 1

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=handle)

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if not self.reports_power:
            raise NVMLError("Not Supported")
        return handle * 1000


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


@pytest.mark.parametrize(("uuid", "number"), [("GPU-2222", 2), ("GPU-3333", 3)])
def test_a_gpu_is_found_by_its_uuid_as_torch_writes_it(
    nvml: FakeNvml, uuid: str, number: int
) -> None:
    assert read_gpu(uuid) == (number, number)
    nvml.reports_power = False
    assert read_gpu(uuid) == (number, None)


@pytest.mark.usefixtures("nvml")
def test_nothing_is_shown_of_a_gpu_that_is_lost() -> None:
    assert read_gpu("GPU-9999") == (None, None)


@pytest.mark.usefixtures("nvml")
def test_the_values_are_those_of_the_engine_that_runs_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamcam.runtime.gpu_stats.INTERVAL_S", 0.001)
    running = [""]
    failures = [SystemExit(1), ValueError("a bug")]

    def uuid() -> str:
        if failures:
            raise failures.pop()
        return running[0]

    stats = GpuStats(uuid)
    stats.start()
    try:
        until(lambda: not failures)
        assert (stats.memory, stats.power) == (None, None)
        for running[0], number in (("GPU-2222", 2), ("GPU-1111", 1)):
            until(lambda number=number: (stats.memory, stats.power) == (number, number))
    finally:
        stats.ask_to_stop()
