"""Settings of torch's libraries for a GPU."""

from collections.abc import Iterator

import pytest
import torch

from streamcam.engines.device_tuning import exact_float32, tune

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    cudnn, precision = torch.backends.cudnn, torch.get_float32_matmul_precision()
    benchmark, limit = cudnn.benchmark, cudnn.benchmark_limit
    cudnn.benchmark = False
    torch.set_float32_matmul_precision("highest")
    yield
    cudnn.benchmark, cudnn.benchmark_limit = benchmark, limit
    torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize(
    ("device", "dtype", "benchmark", "precision"),
    [
        (GPU, torch.float16, True, "high"),
        (GPU, torch.float32, True, "highest"),
        (torch.device("cpu"), torch.bfloat16, False, "highest"),
    ],
)
def test_kernels_are_timed_on_a_gpu_and_float32_stays_float32_where_it_is_asked_for(
    device: torch.device, dtype: torch.dtype, benchmark: bool, precision: str
) -> None:
    tune(device, dtype)
    assert torch.backends.cudnn.benchmark is benchmark
    assert torch.get_float32_matmul_precision() == precision


def test_amds_gpus_keep_torchs_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "hip", "7.1")
    tune(GPU, torch.float16)
    assert torch.backends.cudnn.benchmark is False


def test_references_are_computed_in_float32_itself_and_nothing_after_them() -> None:
    tune(GPU, torch.float16)
    allowed = torch.backends.cudnn.allow_tf32
    with exact_float32():
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
    assert torch.get_float32_matmul_precision() == "high"
    assert torch.backends.cudnn.allow_tf32 == allowed
