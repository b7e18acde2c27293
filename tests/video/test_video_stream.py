"""Video pipeline as a Stream, from input frame to output, over a tiny model with random weights."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from streamcam.errors import ConfigError
from tests.support.streams import images, moving, still
from tests.video.video_streams import SELF_FORCING, RecordingStream, flat


@pytest.mark.parametrize("count", [1, 6, 22])
@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 1},
        {"steps": 2, "video_decoder": "taehv"},
        {"steps": 4, "chunk_latents": 2},
        {"steps": 3, "chunk_latents": 3},
        {"steps": 2, "use_denoising_batch": False, "video_encoder": "taehv"},
        SELF_FORCING | {"chunk_latents": 3},
        SELF_FORCING | {"strength": 0.83, "video_encoder": "taehv", "video_decoder": "taehv"},
    ],
)
def test_every_frame_comes_out_once_and_in_order(settings: dict[str, Any], count: int) -> None:
    frames = moving(count, size=32)
    out = flat(RecordingStream(**settings)(frames))
    assert [(f.index, f.captured_at) for f in out] == [(f.index, f.captured_at) for f in frames]
    assert images(out).shape == (count, 32, 64, 3)


def test_the_first_chunk_comes_out_at_once_and_later_ones_steps_minus_one_chunks_later() -> None:
    out = RecordingStream(steps=3)(moving(25, size=32))
    received = {i: [f.index for f in frames] for i, frames in enumerate(out) if frames}
    assert received == {
        4: [0, 1, 2, 3, 4],
        16: [5, 6, 7, 8],
        20: [9, 10, 11, 12],
        24: [13, 14, 15, 16],
        25: [*range(17, 25)],
    }


@pytest.mark.parametrize(("chunk", "ends"), [(1, [0, 4, 8, 12]), (3, [8, 20])])
def test_a_first_chunk_may_be_as_long_as_the_others(chunk: int, ends: list[int]) -> None:
    out = RecordingStream(**SELF_FORCING, chunk_latents=chunk)(moving(21, size=32))
    received = {i: [f.index for f in frames] for i, frames in enumerate(out) if frames}
    begins = [0, *(end + 1 for end in ends)]
    assert [received[end] for end in ends] == [
        [*range(begin, end + 1)] for begin, end in zip(begins, ends, strict=False)
    ]


@pytest.mark.parametrize(("strength", "steps"), [(None, 4), (0.9, 3), (0.83, 2), (0.3, 1)])
def test_a_strength_runs_the_steps_below_it_and_a_pass_for_the_context(
    strength: float | None, steps: int
) -> None:
    streamed = RecordingStream(**SELF_FORCING)
    streamed(still(9, size=32), {0: {"strength": strength}})
    assert streamed.rows == 3 * (steps + 1) * [1]


def test_a_clean_context_of_a_batch_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="clean_context needs use_denoising_batch=false"):
        RecordingStream(clean_context=True)


def test_rows_run_only_when_they_hold_real_frames() -> None:
    streamed = RecordingStream(steps=3)
    streamed(moving(5 + 4 * 4, size=32))
    first_chunk, filling, full, draining = [1, 1, 1], [1, 2], [3, 3], [2, 1]
    assert streamed.rows == first_chunk + filling + full + draining


@pytest.mark.parametrize("settings", [{"steps": 1}, {"steps": 2, "chunk_latents": 2}])
def test_frames_transferred_as_for_a_gpu_give_the_same_outputs(settings: dict[str, Any]) -> None:
    frames = moving(22, size=32)
    on_cpu, on_gpu = (
        flat(RecordingStream(**settings, on_gpu=on_gpu)(frames)) for on_gpu in (False, True)
    )
    assert [frame.index for frame in on_gpu] == list(range(22))
    assert np.abs(images(on_gpu).astype(int) - images(on_cpu)).max() <= 1


def test_output_depends_on_frames_and_seed_alone() -> None:
    streamed = RecordingStream(steps=2)
    frames = moving(13, size=32)
    first, again = images(flat(streamed(frames))), images(flat(streamed(frames)))
    other = images(flat(streamed(frames, {0: {"seed": 7}})))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_warming_up_leaves_no_trace() -> None:
    frames = moving(9, size=32)
    cold, warm = RecordingStream(steps=2), RecordingStream(steps=2, warmup=1)
    warm.stream.warm_up()
    assert warm.rows[-2:] == [1, 2]
    assert warm.stream.counts == Counter()
    assert np.array_equal(images(flat(cold(frames))), images(flat(warm(frames))))


def test_a_reset_releases_all_frames_and_starts_again() -> None:
    streamed = RecordingStream(steps=2)
    frames = moving(20, size=32)
    out = streamed(frames, {10: {"reset": 1}})
    assert [f.index for f in flat(out)] == [*range(20)]
    assert [f.index for f in out[10]] == [5, 6, 7, 8, 9]
    alone = flat(streamed(frames[10:]))
    assert np.array_equal(images(flat(out)[10:]), images(alone))


@pytest.mark.parametrize("kind", ["recache", "cross-attention", "restart"])
def test_a_new_prompt_changes_the_output_from_its_chunk_on(kind: str) -> None:
    frames = moving(29, size=32)
    streamed = RecordingStream(steps=2, prompt_change=kind)
    before, after = streamed(frames), streamed(frames, {17: {"prompt": "a dog"}})
    assert [f.index for f in flat(after)] == [*range(29)]
    # Frames 17 to 20 are a chunk; 13 to 16 are in flight, and only end with the new prompt.
    same = [
        np.array_equal(a.image, b.image) for a, b in zip(flat(before), flat(after), strict=True)
    ]
    assert same[:13] == [True] * 13
    assert not any(same[17:])


def test_a_restart_releases_the_chunks_in_flight_at_once() -> None:
    out = RecordingStream(steps=3, prompt_change="restart")(
        moving(33, size=32), {17: {"prompt": "a dog"}}
    )
    received = {i: [f.index for f in frames] for i, frames in enumerate(out) if frames}
    # What was in flight begins the new video and is out with the chunk of the change.
    assert received[20] == [*range(9, 17)]
    assert received[28] == [*range(17, 21)]
    assert [f.index for f in flat(out)] == [*range(33)]


def test_a_prompt_that_fades_in_is_recached_once_the_fade_is_over() -> None:
    streamed = RecordingStream(steps=2, prompt_change="recache")
    calls: list[int] = []
    rollout = streamed.stream._rollout
    recache = rollout.recache
    rollout.recache = lambda text: (calls.append(len(streamed.rows)), recache(text))[1]  # type: ignore[method-assign]
    fade = [{"prompt": [["a cat", 1 - t], ["a dog", t]]} for t in (0.25, 0.5, 0.75, 1.0)]
    changes = {9 + 4 * i: change for i, change in enumerate(fade)}
    streamed(moving(37, size=32), changes)
    assert len(calls) == 2  # With the first change, and after the last.


def test_still_frames_get_the_noise_of_the_first_step_and_moving_ones_less() -> None:
    def pictures(kind: str, frames: Any) -> np.ndarray:
        return images(flat(RecordingStream(steps=1, noise_control=kind)(frames)))

    quiet, loud = still(13, size=32), moving(13, size=32)
    assert np.array_equal(pictures("pixel", quiet), pictures("fixed", quiet))
    assert not np.array_equal(pictures("pixel", loud), pictures("fixed", loud))
    assert not np.array_equal(pictures("latent", loud), pictures("fixed", loud))


def test_strength_sets_how_far_the_output_is_from_its_frame() -> None:
    frames = still(9, size=32)
    streamed = RecordingStream(steps=1)
    usual, weak = (images(flat(streamed(frames, {0: {"strength": s}}))) for s in (0.8, 0.3))
    assert np.array_equal(usual, images(flat(streamed(frames))))
    assert not np.array_equal(usual, weak)


def test_output_keeps_its_contrast_when_positions_go_back() -> None:
    settings = {"steps": 2, "kv_position_limit": 7, "kv_realign": True, "sink_threshold": 0.9}
    out = images(flat(RecordingStream(**settings)(moving(61, size=32))))
    assert out.shape[0] == 61
    assert out[-8:].std() > 1


@pytest.mark.parametrize(
    "settings", [{"kv_sinks": 6}, {"chunk_latents": 4}, {"kv_position_limit": 3}]
)
def test_chunks_that_do_not_fit_the_cache_are_refused_before_the_stream_starts(
    settings: dict[str, Any],
) -> None:
    with pytest.raises(ConfigError):
        RecordingStream(**settings)
