"""Inputs of engines begin where kernels of a GPU expect it; a CPU plays the GPU."""

import pytest
import torch

from streamcam.engines import tensor_alignment
from streamcam.engines.compiled import AlignedInputs
from streamcam.engines.tensor_alignment import aligned

ALIGNMENT = 32
"""Less than what torch's allocations have on a CPU."""


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tensor_alignment.ALIGNMENTS, "cpu", ALIGNMENT)


def test_only_what_lies_elsewhere_is_copied() -> None:
    numbers = torch.arange(64.0)
    assert aligned(numbers) is numbers
    for part in (numbers[1], numbers[3:8], numbers.view(8, 8).T, torch.zeros(4, 1, 4)[1:]):
        moved = aligned(part)
        assert torch.equal(moved, part)
        assert moved.is_contiguous()
        assert moved.data_ptr() % ALIGNMENT == 0


def test_a_compiled_engine_is_given_aligned_inputs() -> None:
    seen: list[int] = []

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        seen.extend(tensor.data_ptr() % ALIGNMENT for tensor in tensors)
        return tensors[0].clone()

    strength, weight = torch.tensor([0.25, 0.5]).unbind()
    assert AlignedInputs(run)(weight, strength) == 0.5
    assert seen == [0, 0]
