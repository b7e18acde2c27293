"""Noise levels of flow matching, against the published schedules."""

import pytest
import torch

from streamcam.video.flow_matching import FlowSchedule, add_noise, predict_x_0
from tests.video.video_goldens import golden, needs_goldens


@needs_goldens
@pytest.mark.parametrize("shift", [5, 8])
def test_noise_schedules_equal_the_published_ones(shift: int) -> None:
    tensors, _ = golden("extras")
    flow = FlowSchedule.shifted(shift)
    for name in ("sigmas", "timesteps"):
        expected = tensors[f"flow.shift{shift}.{name}"]
        torch.testing.assert_close(getattr(flow, name), expected, atol=1e-4, rtol=1e-6)
    steps = [1000, 750, 500, 250]
    expected = tensors[f"flow.shift{shift}.warped_1000_750_500_250"].tolist()
    assert flow.warp_timesteps(steps) == pytest.approx(expected, abs=1e-3)


@needs_goldens
def test_noise_is_added_as_published() -> None:
    tensors, _ = golden("extras")
    clean, eps = tensors["flow.add_noise.clean"], tensors["flow.add_noise.noise"]
    flow = FlowSchedule.shifted(8)
    levels = [flow.sigma(t) for t in tensors["flow.add_noise.t"].tolist()]
    x_t = add_noise(clean, eps, torch.tensor(levels)[:, None, None, None])
    torch.testing.assert_close(x_t, tensors["flow.add_noise.out"], atol=1e-5, rtol=0)


def test_a_timestep_has_the_noise_level_of_the_nearest_one_in_the_schedule() -> None:
    flow = FlowSchedule.shifted(8)
    assert flow.sigma(700) == pytest.approx(0.70023, abs=1e-5)
    assert flow.sigma(0) == pytest.approx(0.0079, abs=1e-4)


def test_a_perfect_flow_gives_the_clean_latents_back() -> None:
    x_0, eps = torch.randn(2, 1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    x_t = add_noise(x_0, eps, 0.7)
    torch.testing.assert_close(predict_x_0(x_t, eps - x_0, 0.7), x_0, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shift", [1, 3, 5, 8])
def test_warped_timesteps_follow_from_the_formula_of_the_shift(shift: int) -> None:
    expected = [1000 * shift * t / (1 + (shift - 1) * t) for t in (1.0, 0.75, 0.5, 0.25)]
    flow = FlowSchedule.shifted(shift)
    assert flow.warp_timesteps([1000, 750, 500, 250]) == pytest.approx(expected, abs=1e-3)
    assert [flow.sigma(t) for t in expected] == pytest.approx([t / 1000 for t in expected])


def test_the_timesteps_of_self_forcing_are_those_of_shift_5() -> None:
    warped = FlowSchedule.shifted(5).warp_timesteps([1000, 750, 500, 250, 0])
    assert warped == pytest.approx([1000, 937.5, 833.3333, 625, 0], abs=1e-3)
