"""Stream Batch and guidance, for any number of steps and frames in every mode."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from streamcam.diffusion.guidance import GUIDANCE
from streamcam.diffusion.image_model import ImageModel
from streamcam.diffusion.schedule import steps_at
from streamcam.diffusion.stream_batch import Noise, StepPlan, initial_state, stream_batch
from streamcam.types import Frame
from tests.support.streams import RecordingStream, images, moving

MODES = ("none", "full", "self", "initialize")
STEPS = {1: "20", 2: "32,45", 3: "10,25,40", 4: "0,16,32,45"}
TOLERANCE = 1  # grey level: batches of different sizes round differently


def settings(cfg_type: str, n: int, **changes: Any) -> dict[str, Any]:
    base = {"cfg_type": cfg_type, "t_index_list": STEPS[n], "guidance_scale": 1.4, "delta": 0.8}
    return base | {"negative_prompt": "blurry"} | changes


def assert_same(a: list[Frame], b: list[Frame]) -> None:
    assert [f.index for f in a] == [f.index for f in b]
    difference = np.abs(images(a).astype(int) - images(b))
    assert difference.max() <= TOLERANCE, f"off by {difference.max()} grey levels"


@pytest.fixture(scope="module")
def models() -> ImageModel:
    return RecordingStream().models


@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize("mode", MODES)
def test_batched_equals_sequential(models: ImageModel, mode: str, n: int) -> None:
    frames = moving(7)
    batched = RecordingStream(models, **settings(mode, n))
    sequential = RecordingStream(models, **settings(mode, n, use_denoising_batch=False))
    assert_same(batched(frames), sequential(frames))
    torch.testing.assert_close(
        torch.stack(batched.latents[:7]),
        torch.stack(sequential.latents),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize("f", [2, 3])
@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize("mode", MODES)
def test_f_frames_per_call_equal_one_at_a_time(
    models: ImageModel, mode: str, n: int, f: int
) -> None:
    frames = moving(7)
    together = RecordingStream(models, **settings(mode, n, frame_buffer_size=f))
    alone = RecordingStream(models, **settings(mode, n))
    assert_same(together(frames), alone(frames))


@pytest.mark.parametrize("f", [1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_f_frames_from_noise_alone_equal_one_at_a_time(
    models: ImageModel, mode: str, f: int
) -> None:
    text = settings(mode, 2, mode="txt2img")
    alone, together = (
        RecordingStream(models, **text),
        RecordingStream(models, **text, frame_buffer_size=f),
    )
    assert_same(alone(moving(5)), together(moving(5, seed=9)))


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
def test_the_unet_runs_no_more_rows_than_the_mode_needs(
    models: ImageModel, mode: str, n: int, rows: Any
) -> None:
    for f in (1, 2):
        stream = RecordingStream(models, **settings(mode, n, frame_buffer_size=f))
        stream(moving(4))
        assert set(stream.rows) == {rows(n) * f}


def test_each_image_depends_on_its_own_frame_only(models: ImageModel) -> None:
    frames = moving(6)
    one_changed = [*frames[:3], Frame(moving(1, seed=5)[0].image, 3, 0.1), *frames[4:]]
    outputs, reference = (
        RecordingStream(models, **settings("self", 4))(sequence)
        for sequence in (one_changed, frames)
    )
    changed = [
        not np.array_equal(a.image, b.image) for a, b in zip(outputs, reference, strict=True)
    ]
    assert changed == [False, False, False, True, False, False]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n", [1, 2])
def test_a_guidance_scale_of_one_gives_the_unguided_image(
    models: ImageModel, mode: str, n: int
) -> None:
    guided = RecordingStream(models, **settings(mode, n, guidance_scale=1.0))
    unguided = RecordingStream(models, **settings("none", n))
    assert_same(guided(moving(4)), unguided(moving(4)))


@pytest.mark.parametrize("mode", ["full", "self", "initialize"])
@pytest.mark.parametrize("n", [1, 3])
def test_the_guidance_scale_crosses_one_smoothly_with_the_same_rows(
    models: ImageModel, mode: str, n: int
) -> None:
    scales = [0.0, 0.5, 0.98, 1.0, 1.02, 1.5, 3.0]
    stream = RecordingStream(models, **settings(mode, n))
    changes = {i: {"guidance_scale": scale} for i, scale in enumerate(scales)}
    assert len(stream(moving(8), changes)) == 8
    assert len(set(stream.rows)) == 1
    below, at, above = (
        torch.stack(_latents(models, **settings(mode, n, guidance_scale=scale)))
        for scale in (0.999, 1.0, 1.001)
    )
    torch.testing.assert_close(at - below, above - at, atol=1e-4, rtol=0.05)


def _latents(models: ImageModel, **values: Any) -> list[torch.Tensor]:
    stream = RecordingStream(models, **values)
    stream(moving(4))
    return stream.latents


def test_self_guidance_with_one_step_does_not_diverge(models: ImageModel) -> None:
    """In the published code the residual noise grew from call to call until the image was lost."""
    strong = settings("self", 1, t_index_list="0", guidance_scale=1.8, delta=1.0)
    frames = moving(1) * 20
    frames = [Frame(frame.image, i, i / 30) for i, frame in enumerate(frames)]
    stream = RecordingStream(models, **strong)
    out = images(stream(frames))
    assert np.array_equal(out[0], out[-1])
    assert torch.isfinite(torch.stack(stream.latents)).all()


class OperationCount(TorchDispatchMode):
    """Count of the operations that a device computes: all but views."""

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
def test_a_call_starts_few_operations_besides_the_model(mode: str, one: int, four: int) -> None:
    for indices, most in (((20,), one), ((0, 16, 32, 45), four)):
        n = len(indices)
        noise = torch.randn(n, 1, 4, 8, 8)
        steps = steps_at(indices, 50, torch.linspace(0.99, 0.01, 1000))
        plan = StepPlan(steps, Noise(noise, noise), GUIDANCE[mode], 1.2, 0.9)
        latents = torch.randn(1, 4, 8, 8)
        state = initial_state(latents, n)
        for _ in range(2):  # The first call computes the factors of the plan.
            with OperationCount() as operations:
                _, state = stream_batch(plan.add_noise(latents), state, plan, lambda rows, _: rows)
        assert operations.count <= most


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_prompts_change_live_in_every_mode(models: ImageModel, mode: str, name: str) -> None:
    changed = RecordingStream(models, **settings(mode, 3))(moving(8), {3: {name: "a red dog"}})
    before = RecordingStream(models, **settings(mode, 3))(moving(8))
    after = RecordingStream(models, **(settings(mode, 3) | {name: "a red dog"}))(moving(8))
    assert len(changed) == 8
    # Frame 0 was out by then; frames from 3 on only run with the new prompt.
    assert np.array_equal(changed[0].image, before[0].image)
    assert np.array_equal(images(changed[3:]), images(after[3:]))
    has_effect = name == "prompt" or mode in ("full", "initialize")
    assert np.array_equal(images(after), images(before)) is not has_effect


@pytest.mark.parametrize("mode", MODES)
def test_live_changes_of_timesteps_and_seed_give_what_a_new_stream_gives(
    models: ImageModel, mode: str
) -> None:
    for change in ({"t_index_list": [5, 20, 30]}, {"strength": 0.9}, {"seed": 11}):
        live = RecordingStream(models, **settings(mode, 3))(moving(9), {4: change})
        fresh_settings = settings(mode, 3, steps=3)
        if "strength" in change:
            del fresh_settings["t_index_list"]
        fresh = RecordingStream(models, **(fresh_settings | change))(moving(9))
        assert_same(live[4:], fresh[4:])
        assert len(live) == 9


def test_the_number_of_steps_cannot_change_live(models: ImageModel) -> None:
    from streamcam.errors import ParameterError

    stream = RecordingStream(models, **settings("self", 2))
    with pytest.raises(ParameterError, match="fixed at start: 2"):
        stream(moving(2), {1: {"t_index_list": [1, 2, 3]}})


@pytest.mark.parametrize("mode", MODES)
def test_the_same_seed_gives_the_same_images(models: ImageModel, mode: str) -> None:
    first, second = (RecordingStream(models, **settings(mode, 2))(moving(5)) for _ in range(2))
    assert np.array_equal(images(first), images(second))
    other = RecordingStream(models, **settings(mode, 2, seed=3))(moving(5))
    assert not np.array_equal(images(first), images(other))


def test_text_to_image_follows_the_seed(models: ImageModel) -> None:
    text = {"mode": "txt2img", "t_index_list": "0,25"}
    first, second = (RecordingStream(models, **text)(moving(4)) for _ in range(2))
    other = RecordingStream(models, **text, seed=3)(moving(4))
    assert np.array_equal(images(first), images(second))
    assert not np.array_equal(images(first), images(other))
    assert not np.array_equal(first[0].image, first[1].image)


def test_a_reset_loses_no_frame_and_starts_from_the_beginning(models: ImageModel) -> None:
    stream = RecordingStream(models, **settings("self", 3, mode="txt2img"))
    out = stream(moving(10), {5: {"reset": 1}})
    assert [frame.index for frame in out] == list(range(10))
    assert np.array_equal(images(out[:5]), images(out[5:]))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("f", [1, 2, 4])
def test_as_many_frames_come_out_as_went_in(models: ImageModel, count: int, f: int) -> None:
    stream = RecordingStream(models, **settings("self", 3, frame_buffer_size=f))
    assert [frame.index for frame in stream(moving(count))] == list(range(count))
    again = stream(moving(count))
    assert [frame.index for frame in again] == list(range(count))


def test_outputs_keep_the_capture_time_of_their_frames(models: ImageModel) -> None:
    frames = [Frame(frame.image, i, 100 + i * 0.04) for i, frame in enumerate(moving(5))]
    out = RecordingStream(models, **settings("self", 4))(frames)
    assert [frame.captured_at for frame in out] == [frame.captured_at for frame in frames]
