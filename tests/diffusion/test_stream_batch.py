"""Stream Batch and guidance: what holds for any number of steps, frames and any mode."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.schedule import steps_at
from streamcam.diffusion.stream_batch import Noise, StepPlan, initial_state, stream_batch
from streamcam.types import Frame
from tests.support.streams import Streamed, images, moving

MODES = ("none", "full", "self", "initialize")
STEPS = {1: "20", 2: "32,45", 3: "10,25,40", 4: "0,16,32,45"}
TOLERANCE = 1  # grey level: batches of other sizes round differently


def settings(cfg_type: str, n: int, **others: Any) -> dict[str, Any]:
    base = {"cfg_type": cfg_type, "t_index_list": STEPS[n], "guidance_scale": 1.4, "delta": 0.8}
    return base | {"negative_prompt": "blurry"} | others


def same(a: list[Frame], b: list[Frame]) -> None:
    assert [f.index for f in a] == [f.index for f in b]
    difference = np.abs(images(a).astype(int) - images(b))
    assert difference.max() <= TOLERANCE, f"off by {difference.max()} grey levels"


@pytest.fixture(scope="module")
def models() -> ImageModel:
    return Streamed().models


@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize("mode", MODES)
def test_batched_equals_sequential(models: ImageModel, mode: str, n: int) -> None:
    frames = moving(7)
    batched = Streamed(models, **settings(mode, n))
    one_by_one = Streamed(models, **settings(mode, n, use_denoising_batch=False))
    same(batched(frames), one_by_one(frames))
    torch.testing.assert_close(
        torch.stack(batched.latents[:7]), torch.stack(one_by_one.latents), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("f", [2, 3])
@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize("mode", MODES)
def test_f_frames_per_call_equal_one_at_a_time(
    models: ImageModel, mode: str, n: int, f: int
) -> None:
    frames = moving(7)
    together = Streamed(models, **settings(mode, n, frame_buffer_size=f))
    alone = Streamed(models, **settings(mode, n))
    same(together(frames), alone(frames))


@pytest.mark.parametrize("f", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_f_frames_from_noise_alone_equal_one_at_a_time(
    models: ImageModel, mode: str, f: int
) -> None:
    text = settings(mode, 2, mode="txt2img")
    alone, together = Streamed(models, **text), Streamed(models, **text, frame_buffer_size=f)
    same(alone(moving(5)), together(moving(5, seed=9)))


@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize(
    ("mode", "rows"),
    [
        ("none", lambda n: n),
        ("self", lambda n: n),
        ("initialize", lambda n: n + 1),
        ("full", lambda n: 2 * n),
    ],
)
def test_u_net_runs_no_more_rows_than_the_mode_needs(
    models: ImageModel, mode: str, n: int, rows: Any
) -> None:
    for f in (1, 2):
        stream = Streamed(models, **settings(mode, n, frame_buffer_size=f))
        stream(moving(4))
        assert set(stream.rows) == {rows(n) * f}


def test_each_picture_depends_on_its_own_frame_alone(models: ImageModel) -> None:
    frames = moving(6)
    other = [*frames[:3], moving(1, seed=5)[0], *frames[4:]]
    other[3] = Frame(other[3].image, 3, 0.1)
    with_it, without = (Streamed(models, **settings("self", 4))(given) for given in (other, frames))
    changed = [not np.array_equal(a.image, b.image) for a, b in zip(with_it, without, strict=True)]
    assert changed == [False, False, False, True, False, False]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2])
def test_a_neutral_guidance_scale_gives_the_unguided_picture(
    models: ImageModel, mode: str, n: int
) -> None:
    guided = Streamed(models, **settings(mode, n, guidance_scale=1.0))
    unguided = Streamed(models, **settings("none", n))
    same(guided(moving(4)), unguided(moving(4)))


@pytest.mark.parametrize("mode", ["full", "self", "initialize"])
@pytest.mark.parametrize("n", [1, 3])
def test_guidance_crosses_one_smoothly_and_without_other_rows(
    models: ImageModel, mode: str, n: int
) -> None:
    scales = [0.0, 0.5, 0.98, 1.0, 1.02, 1.5, 3.0]
    stream = Streamed(models, **settings(mode, n))
    changes = {i: {"guidance_scale": scale} for i, scale in enumerate(scales)}
    assert len(stream(moving(8), changes)) == 8
    assert len(set(stream.rows)) == 1
    below, at, above = (
        torch.stack(_latents(models, **settings(mode, n, guidance_scale=scale)))
        for scale in (0.999, 1.0, 1.001)
    )
    torch.testing.assert_close(at - below, above - at, atol=1e-4, rtol=0.05)


def _latents(models: ImageModel, **values: Any) -> list[torch.Tensor]:
    stream = Streamed(models, **values)
    stream(moving(4))
    return stream.latents


def test_self_guidance_with_one_step_never_feeds_back(models: ImageModel) -> None:
    """Published: the residual noise grew from call to call until the picture was lost."""
    wild = settings("self", 1, t_index_list="0", guidance_scale=1.8, delta=1.0)
    frames = moving(1) * 20
    frames = [Frame(frame.image, i, i / 30) for i, frame in enumerate(frames)]
    stream = Streamed(models, **wild)
    out = images(stream(frames))
    assert np.array_equal(out[0], out[-1])
    assert torch.isfinite(torch.stack(stream.latents)).all()


def test_self_guidance_with_one_step_moves_away_from_the_first_noise(models: ImageModel) -> None:
    values = settings("self", 1, guidance_scale=1.7, delta=0.6)
    stream = Streamed(models, **values)
    stream(moving(1))
    sampler = stream.stream.sampler
    noise, steps = sampler.noise.stock, sampler.steps
    latents = models.encode(_tensor(moving(1)[0]), None)
    x_t = steps.alpha * latents + steps.beta * noise
    condition = Conditioner(models)(stream.config.live, negative=0, positive=1)
    eps = models.denoise(x_t[0], steps.timesteps, condition)
    guided = 0.6 * noise + 1.7 * (eps - 0.6 * noise)
    expected = steps.c_out * (x_t - steps.beta * guided) / steps.alpha + steps.c_skip * x_t
    torch.testing.assert_close(stream.latents[0], expected[0, 0], atol=1e-5, rtol=1e-5)


def _tensor(frame: Frame) -> torch.Tensor:
    from streamcam.frames.image_tensors import to_tensor

    return to_tensor([frame.image], torch.device("cpu"))


class Started(TorchDispatchMode):
    """Counts what a device is asked to compute: all but views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not op.is_view
        return op(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("mode", "one", "four"),
    [("none", 3, 6), ("full", 5, 8), ("self", 5, 12), ("initialize", 7, 14)],
)
def test_a_call_starts_few_operations_beside_the_model(mode: str, one: int, four: int) -> None:
    for indices, most in (((20,), one), ((0, 16, 32, 45), four)):
        n = len(indices)
        noise = torch.randn(n, 1, 4, 8, 8)
        steps = steps_at(indices, 50, torch.linspace(0.99, 0.01, 1000))
        plan = StepPlan(steps, Noise(noise, noise), GUIDANCE[mode], 1.2, 0.9)
        latents = torch.randn(1, 4, 8, 8)
        state = initial_state(latents, n)
        for _ in range(2):  # The first call works out what follows from the plan.
            with Started() as started:
                _, state = stream_batch(plan.add_noise(latents), state, plan, lambda rows, _: rows)
        assert started.count <= most


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", ["prompt", "negative_prompt"])
def test_prompts_change_live_in_every_mode(models: ImageModel, mode: str, what: str) -> None:
    changed = Streamed(models, **settings(mode, 3))(moving(8), {3: {what: "a red dog"}})
    before = Streamed(models, **settings(mode, 3))(moving(8))
    after = Streamed(models, **(settings(mode, 3) | {what: "a red dog"}))(moving(8))
    assert len(changed) == 8
    # Frame 0 was out by then, frames from 3 on know nothing but the new prompt.
    assert np.array_equal(changed[0].image, before[0].image)
    assert np.array_equal(images(changed[3:]), images(after[3:]))
    steers = what == "prompt" or mode in ("full", "initialize")
    assert np.array_equal(images(after), images(before)) is not steers


def test_a_prompt_change_reaches_the_latents_in_flight_and_keeps_the_noise(
    models: ImageModel,
) -> None:
    stream = Streamed(models, **settings("self", 3))
    live, frames = stream.config.live, moving(6)
    for frame in frames[:3]:
        stream.stream(frame, live)
    sampler = stream.stream.sampler
    noise, in_flight = sampler.noise, sampler.in_flight
    assert in_flight is not None
    x_0 = in_flight.x_0.clone()
    sampler.update(live.changed({"prompt": "a red dog"}))
    assert sampler.noise is noise
    assert sampler.in_flight is not None
    assert torch.equal(sampler.in_flight.x_0, x_0)


@pytest.mark.parametrize("mode", MODES)
def test_timesteps_and_seed_change_live_as_if_the_stream_had_begun_so(
    models: ImageModel, mode: str
) -> None:
    for change in ({"t_index_list": [5, 20, 30]}, {"strength": 0.9}, {"seed": 11}):
        live = Streamed(models, **settings(mode, 3))(moving(9), {4: change})
        begun = settings(mode, 3, steps=3)
        if "strength" in change:
            del begun["t_index_list"]
        fresh = Streamed(models, **(begun | change))(moving(9))
        same(live[4:], fresh[4:])
        assert len(live) == 9


def test_the_number_of_steps_is_structural(models: ImageModel) -> None:
    from streamcam.errors import ParameterError

    stream = Streamed(models, **settings("self", 2))
    with pytest.raises(ParameterError, match="fixed at start: 2"):
        stream(moving(2), {1: {"t_index_list": [1, 2, 3]}})


def test_the_first_noise_is_the_published_draw_for_the_seed(models: ImageModel) -> None:
    stream = Streamed(models, **settings("self", 4, seed=7)).stream.sampler
    generator = torch.Generator("cpu").manual_seed(7)
    published = torch.randn((4, *models.latent_shape), generator=generator)
    assert torch.equal(stream.noise.stock[:, 0], published)


def test_without_added_noise_the_later_steps_get_none(models: ImageModel) -> None:
    noise = Streamed(models, **settings("none", 3, do_add_noise=False)).stream.sampler.noise
    assert noise.added[0].abs().sum() > 0
    assert noise.added[1:].abs().sum() == 0
    assert noise.stock[1:].abs().sum() > 0


@pytest.mark.parametrize("mode", MODES)
def test_the_same_seed_gives_the_same_pictures(models: ImageModel, mode: str) -> None:
    first, second = (Streamed(models, **settings(mode, 2))(moving(5)) for _ in range(2))
    assert np.array_equal(images(first), images(second))
    other = Streamed(models, **settings(mode, 2, seed=3))(moving(5))
    assert not np.array_equal(images(first), images(other))


def test_text_to_image_follows_the_seed(models: ImageModel) -> None:
    text = {"mode": "txt2img", "t_index_list": "0,25"}
    first, second = (Streamed(models, **text)(moving(4)) for _ in range(2))
    other = Streamed(models, **text, seed=3)(moving(4))
    assert np.array_equal(images(first), images(second))
    assert not np.array_equal(images(first), images(other))
    assert not np.array_equal(first[0].image, first[1].image)


def test_a_reset_lets_no_frame_go_missing_and_starts_anew(models: ImageModel) -> None:
    stream = Streamed(models, **settings("self", 3, mode="txt2img"))
    out = stream(moving(10), {5: {"reset": 1}})
    assert [frame.index for frame in out] == list(range(10))
    assert np.array_equal(images(out[:5]), images(out[5:]))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("f", [1, 2, 4])
def test_as_many_frames_come_out_as_went_in(models: ImageModel, count: int, f: int) -> None:
    stream = Streamed(models, **settings("self", 3, frame_buffer_size=f))
    assert [frame.index for frame in stream(moving(count))] == list(range(count))
    again = stream(moving(count))
    assert [frame.index for frame in again] == list(range(count))


def test_time_travels_with_the_frame(models: ImageModel) -> None:
    frames = [Frame(frame.image, i, 100 + i * 0.04) for i, frame in enumerate(moving(5))]
    out = Streamed(models, **settings("self", 4))(frames)
    assert [frame.captured_at for frame in out] == [frame.captured_at for frame in frames]
