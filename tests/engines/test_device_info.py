"""The facts of a device, by the number that torch gives it."""

from types import SimpleNamespace

import pytest
import torch

from streamcam.engines.device_info import gpu_uuid


def test_a_gpu_is_named_by_the_uuid_that_torch_has_for_its_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def properties(device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(uuid=f"{device.index or 0}000")

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    assert gpu_uuid(torch.device("cuda:1")) == "GPU-1000"
    assert gpu_uuid(torch.device("cuda")) == "GPU-0000"
    assert gpu_uuid(torch.device("cpu")) == ""
    monkeypatch.setattr(torch.version, "cuda", None)  # AMD's, which NVML does not know.
    assert gpu_uuid(torch.device("cuda")) == ""
