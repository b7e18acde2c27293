"""Settings of torch's libraries for a GPU."""

from collections.abc import Iterator

import pytest
import torch

from streamcam.engines.device_tuning import tune

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    benchmark, precision = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    torch.backends.cudnn.benchmark = False
    torch.set_float32_matmul_precision("highest")
    yield
    torch.backends.cudnn.benchmark = benchmark
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
