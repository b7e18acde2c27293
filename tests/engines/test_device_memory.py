"""The free memory of a device is read wherever its driver reports it."""

from collections import namedtuple
from pathlib import Path

import pytest
import torch

from streamcam.engines import device_memory
from streamcam.engines.device_memory import DeviceMemory, main_memory, release_cached_memory

Virtual = namedtuple("Virtual", "available total")


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_a_gpu_tells_its_free_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # AMD's GPUs are called cuda too.
    monkeypatch.setattr(getattr(torch, kind), "mem_get_info", lambda _: (3, 8), raising=False)
    assert device_memory.device_memory(torch.device(kind)) == DeviceMemory(3, 8)


def test_an_apple_gpu_tells_what_is_left_of_what_is_recommended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 8)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 3)
    assert device_memory.device_memory(torch.device("mps")) == DeviceMemory(5, 8)


def test_a_gpu_that_does_not_tell_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("the device does not support it")

    monkeypatch.setattr(torch.xpu, "mem_get_info", fail, raising=False)
    assert device_memory.device_memory(torch.device("xpu")) is None


@pytest.mark.parametrize(
    ("limit", "expected"), [("max", DeviceMemory(60, 100)), ("50", DeviceMemory(20, 50))]
)
def test_a_container_has_a_part_of_the_main_memory(
    limit: str, expected: DeviceMemory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("30\n")
    monkeypatch.setattr(device_memory, "CGROUP", tmp_path)
    monkeypatch.setattr(device_memory.psutil, "virtual_memory", lambda: Virtual(60, 100))
    assert main_memory() == expected


def test_memory_is_kept_while_another_thread_records_a_cuda_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reason = "captures_underway.empty() INTERNAL ASSERT FAILED"

    def refuse() -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(torch.cuda, "empty_cache", refuse)
    release_cached_memory(torch.device("cuda"))
    reason = "CUDA error: an illegal memory access was encountered"
    with pytest.raises(RuntimeError, match="illegal memory access"):
        release_cached_memory(torch.device("cuda"))
