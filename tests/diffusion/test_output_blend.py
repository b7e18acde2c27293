"""Outputs blended with the last one, moved with the scene; noise that moves with it."""

from typing import Any

import numpy as np
import pytest
import torch

from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.noise_shift import NoiseShift, shifted
from streamcam.diffusion.output_blend import BlendInputs, blended
from streamcam.diffusion.stream_batch import Noise
from streamcam.types import Frame
from tests.support.streams import RecordingStream, images, moving


def smooth(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, 6, 8, generator=generator) - 0.5
    return torch.nn.functional.interpolate(small, scale_factor=8, mode="bicubic")


def inputs(weight: float, right: float = 0.0, down: float = 0.0, f: int = 1) -> BlendInputs:
    motion = torch.tensor([right / 64, down / 48]).view(1, 2, 1, 1).expand(f, 2, 3, 4)
    return BlendInputs(torch.full((f,), weight), motion)


def test_an_output_that_moved_is_blended_with_itself_where_it_was() -> None:
    last = smooth()
    now, noise = last.roll((2, 5), (2, 3)), 0.03 * torch.randn(1, 3, 48, 64)
    result, kept = blended(now + noise, last, inputs(0.75, right=5, down=2))
    inside = (..., slice(8, -8), slice(10, -10))
    error, before = (result - now)[inside].abs().mean(), noise[inside].abs().mean()
    assert error < 0.35 * before
    assert torch.equal(result, kept)


def test_where_something_else_is_now_nothing_of_the_last_output_is_left() -> None:
    last = smooth()
    now = last.clone()
    now[..., 20:40] = 1.5
    result, _ = blended(now, last, inputs(1.0))
    torch.testing.assert_close(result[..., 24:36], now[..., 24:36], atol=1e-2, rtol=0)


def test_the_frames_of_one_call_are_blended_one_after_another() -> None:
    frames = torch.cat([smooth() + 0.02 * i for i in range(3)])
    together, last = blended(frames, smooth(), inputs(0.5, f=3))
    kept = smooth()
    for frame, expected in zip(torch.split(frames, 1), torch.split(together, 1), strict=True):
        alone, kept = blended(frame, kept, inputs(0.5))
        torch.testing.assert_close(alone, expected)
    torch.testing.assert_close(last, kept)


@pytest.fixture(scope="module")
def models() -> ImageModel:
    return RecordingStream().models


def grey(levels: list[int]) -> list[Frame]:
    return [Frame(np.full((64, 64, 3), v, np.uint8), i, i / 30) for i, v in enumerate(levels)]


MODES: list[dict[str, Any]] = [
    {"t_index_list": "20"},
    {"t_index_list": "10,30"},
    {"t_index_list": "10,30", "frame_buffer_size": 2},
    {"t_index_list": "10,30", "use_denoising_batch": False},
]


@pytest.mark.parametrize("settings", MODES, ids=str)
def test_blending_begins_with_the_output_after_it_was_turned_on(
    models: ImageModel, settings: dict[str, Any]
) -> None:
    frames = grey([100, 104, 108, 112, 116, 120])

    def run(changes: dict[int, dict[str, Any]]) -> Any:
        return images(RecordingStream(models, **settings)(frames, changes)).astype(int)

    off, on = run({}), run({0: {"output_blend": 0.9}})
    assert (on[0] == off[0]).all()
    assert (on != off).any()
    assert (run({0: {"output_blend": 0.9}, 2: {"output_blend": 0}})[-1] == off[-1]).all()


def test_a_cut_is_not_blended(models: ImageModel) -> None:
    def run(blend: float) -> Any:
        return images(RecordingStream(models, t_index_list="20", output_blend=blend)(moving(3)))

    assert (run(1.0) == run(0.0)).all()


def test_noise_moves_by_whole_places_exactly_and_keeps_its_variance_between_them() -> None:
    noise = torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(shifted(noise, (3 / 64, 2 / 64)), noise.roll((2, 3), (1, 2)))
    assert shifted(noise, (0.4 / 64, 0.7 / 64)).std() == pytest.approx(1, abs=0.03)


def test_the_noise_of_a_step_follows_the_frames_at_that_step() -> None:
    noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    shift = NoiseShift(2, batch=True)
    assert shift(Noise(noise, noise)).added is noise
    shift.begin([(0.125, 0), (0.125, 0)])
    first = shift(Noise(noise, noise)).added
    assert torch.equal(first[0], noise[0].roll(2, -1))
    assert torch.equal(first[1], noise[1])
    shift.begin([])
    assert torch.equal(shift(Noise(noise, noise)).stock, noise.roll(2, -1))


def test_turned_off_the_noise_is_where_it_was_drawn(models: ImageModel) -> None:
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    frames = [Frame(np.roll(scene, 4 * i, 1)[:64, :64].copy(), i, i / 30) for i in range(6)]

    def run(changes: dict[int, dict[str, Any]]) -> Any:
        return images(RecordingStream(models, t_index_list="10")(frames, changes)).astype(int)

    off, on = run({}), run({1: {"noise_follow": True}, 4: {"noise_follow": False}})
    differs = (on != off).any((1, 2, 3))
    # Motion is known from the second frame on.
    assert differs.tolist() == [False, False, True, True, False, False]
