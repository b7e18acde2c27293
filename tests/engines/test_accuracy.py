"""What is too far from float32 is refused, with the figure."""

import pytest
import torch

from streamcam.engines.accuracy import FLOORS, TooFarOff, check, psnr
from streamcam.engines.flat_stage import Flat, leaves_of
from tests.engines.conftest import Small, call


def test_psnr_is_that_of_its_definition() -> None:
    reference = torch.tensor([0.0, 2.0, 1.0, 1.0])
    assert psnr(reference + 0.2, reference) == pytest.approx(20.0, abs=1e-4)
    assert psnr(reference, reference) == 200
    assert psnr(reference / 0, reference) == float("-inf")


@pytest.mark.parametrize("dtype", FLOORS)
def test_each_format_has_a_floor_that_noise_falls_through(stage: Small, dtype: torch.dtype) -> None:
    tensors, signature, structure = leaves_of(call())
    flat = Flat(stage, structure, [leaf is not None for leaf in signature])

    def noisy(share: float) -> float:
        def run(*given: torch.Tensor) -> torch.Tensor:
            exact = flat(*given)
            span = exact.max() - exact.min()
            return exact + share * span * torch.randn(exact.shape)

        return check(run, flat, tensors, dtype)

    floor = 10 ** (-FLOORS[dtype] / 20)
    assert noisy(floor / 2) > FLOORS[dtype]
    with pytest.raises(TooFarOff, match=r"\d dB against float32.*must reach"):
        noisy(floor * 2)


def test_a_stage_in_half_precision_is_measured_against_its_own_weights_in_full(
    stage: Small,
) -> None:
    tensors, signature, structure = leaves_of(call())
    flat = Flat(stage.bfloat16(), structure, [leaf is not None for leaf in signature])
    halves = [t.bfloat16() if t.is_floating_point() else t for t in tensors]
    reached = check(flat, flat, halves, torch.bfloat16)
    assert FLOORS[torch.bfloat16] < reached < FLOORS[torch.float32]
    assert all(weight.dtype == torch.bfloat16 for weight in stage.parameters())
