"""Accuracy against float32: the PSNR, and the minimum of each dtype."""

from typing import Any

import pytest
import torch

from streamcam.engines.accuracy import (
    MIN_PSNR,
    AccuracyError,
    check_accuracy,
    float32_reference,
    psnr,
)
from streamcam.engines.flat_stage import FlatForward, FlatStage, flatten_args
from tests.engines.conftest import Small, call, small


def test_psnr_is_that_of_its_definition() -> None:
    reference = torch.tensor([0.0, 2.0, 1.0, 1.0])
    assert psnr(reference + 0.2, reference) == pytest.approx(20.0, abs=1e-4)
    assert psnr(reference, reference) == 200
    assert psnr(reference / 0, reference) == float("-inf")


@pytest.mark.parametrize("dtype", MIN_PSNR)
def test_each_dtype_has_a_minimum_that_noise_falls_below(stage: Small, dtype: torch.dtype) -> None:
    tensors, signature, structure = flatten_args(call())
    flat = FlatStage(stage, structure, [leaf is not None for leaf in signature])

    def noisy(share: float) -> float:
        def run(*given: torch.Tensor) -> torch.Tensor:
            in_float32 = flat(*given)
            span = in_float32.max() - in_float32.min()
            return in_float32 + share * span * torch.randn(in_float32.shape)

        return check_accuracy(run, flat, tensors, dtype)

    floor = 10 ** (-MIN_PSNR[dtype] / 20)
    assert noisy(floor / 2) > MIN_PSNR[dtype]
    with pytest.raises(AccuracyError, match=r"\d dB against float32.*must reach"):
        noisy(floor * 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_output_that_is_not_finite_is_refused_whatever_it_is_compared_with(
    stage: Small, bad: float
) -> None:
    tensors, signature, structure = flatten_args(call())
    flat = FlatStage(stage, structure, [leaf is not None for leaf in signature])
    with pytest.raises(AccuracyError, match="-inf dB"):
        check_accuracy(lambda *given: flat(*given) * bad, flat, tensors, torch.float16)
    with torch.no_grad():
        next(stage.parameters()).fill_(bad)
    with pytest.raises(AccuracyError, match="even in float32"):
        check_accuracy(flat, flat, tensors, torch.float16)


def test_a_stage_in_half_precision_is_compared_with_the_same_weights_in_float32(
    stage: Small,
) -> None:
    tensors, signature, structure = flatten_args(call())
    flat = FlatStage(stage.bfloat16(), structure, [leaf is not None for leaf in signature])
    halves = [t.bfloat16() if t.is_floating_point() else t for t in tensors]
    reached = check_accuracy(flat, flat, halves, torch.bfloat16)
    assert MIN_PSNR[torch.bfloat16] < reached < MIN_PSNR[torch.float32]
    assert all(weight.dtype == torch.bfloat16 for weight in stage.parameters())


@pytest.mark.parametrize(("free", "where"), [(500, "on the CPU"), (5000, "on the GPU")])
def test_the_reference_runs_on_the_cpu_where_the_gpu_has_no_room_for_it(
    monkeypatch: pytest.MonkeyPatch, free: int, where: str
) -> None:
    tensors, signature, structure = flatten_args(call())
    # 84 weights: 336 bytes in float32.
    flat = FlatStage(small(), structure, [leaf is not None for leaf in signature])
    half = FlatStage(small().half(), structure, [leaf is not None for leaf in signature])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 8 << 30))
    copies: list[str] = []
    for name in ("in_float32", "in_float32_on_cpu"):
        method = getattr(FlatStage, name)

        def record(self: FlatStage, name: str = name, method: Any = method) -> FlatForward:
            copies.append(name)
            run: FlatForward = method(self)
            return run

        monkeypatch.setattr(FlatStage, name, record)
    reference = float32_reference(half, torch.device("cuda"))(*tensors)
    assert copies == ["in_float32_on_cpu" if where == "on the CPU" else "in_float32"]
    assert psnr(reference, flat(*tensors)) > 60
    assert next(half.parameters()).dtype == torch.float16
