"""Similarity filter: the frames it skips, and the output that it must not spoil."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamcam.diffusion.similarity import (
    centred,
    cosine,
    skip_probability,
    skips,
)
from streamcam.pixels import as_vector
from streamcam.types import Frame, Image
from tests.support.streams import RecordingStream, images, moving, still

FILTER = {"enable_similar_image_filter": True}


def stage(brightness: int, figure_at: int | None, *, size: int = 64) -> Image:
    """Return an evenly lit stage, with a brighter figure over 15% of it."""
    image = np.full((size, size, 3), brightness, np.uint8)
    if figure_at is not None:
        width = round(0.15 * size)
        image[:, figure_at : figure_at + width] += 40
    return image


@pytest.mark.parametrize("brightness", [0, 4, 20, 120, 200])
def test_motion_counts_the_same_on_a_dark_stage_as_on_a_bright_one(brightness: int) -> None:
    here, there = as_vector(stage(brightness, 4)), as_vector(stage(brightness, 40))
    assert centred(here, there) < 0
    assert skip_probability(centred(here, there), 0.98) == 0
    assert centred(here, here) == pytest.approx(1)


def test_the_cosine_of_the_paper_sees_no_motion_on_a_dark_stage() -> None:
    here, there = as_vector(stage(4, 4)), as_vector(stage(4, 40))
    assert cosine(here, there) > 0.9


def test_a_change_of_light_is_a_change() -> None:
    scene = moving(1)[0].image // 4
    assert centred(as_vector(scene), as_vector(scene + 60)) < 0.9
    assert centred(as_vector(stage(0, None)), as_vector(stage(255, None))) < 0


def test_empty_frames_are_alike() -> None:
    assert centred(as_vector(stage(0, None)), as_vector(stage(0, None))) == pytest.approx(1)
    assert centred(as_vector(stage(127, None)), as_vector(stage(127, None))) == pytest.approx(1)


@given(
    st.floats(-1, 1),
    st.floats(-1, 1),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 20),
    st.integers(0, 20),
)
def test_skips_follow_the_probability_up_to_the_maximum(
    similarity: float, threshold: float, draw: float, skipped: int, limit: int
) -> None:
    probability = skip_probability(similarity, threshold)
    assert 0 <= probability <= 1 + 1e-9
    if similarity < threshold:
        assert probability == 0
    if skips(probability, draw, skipped, limit):
        assert skipped < limit
        assert draw <= probability


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("limit", [0, 1, 3, 10])
def test_on_a_still_scene_exactly_the_maximum_is_skipped_between_two_frames(
    n: int, limit: int
) -> None:
    stream = RecordingStream(
        **FILTER, similar_image_filter_max_skip_frame=limit, t_index_list=STEPS[n]
    )
    live, pattern = stream.config.live, ""
    for frame in still(60):
        before = stream.calls["denoise"]
        stream.stream(frame, live)
        pattern += "1" if stream.calls["denoise"] > before else "0"
    # Until the first output is out, there is nothing to show for a skipped frame.
    assert pattern == ("1" * n + ("0" * limit + "1") * 60)[:60]


STEPS = {1: "45", 2: "32,45", 4: "0,16,32,45"}


@pytest.mark.parametrize("n", STEPS)
def test_a_skipped_frame_runs_no_model(n: int) -> None:
    stream = RecordingStream(**FILTER, t_index_list=STEPS[n])
    out = stream(still(40))
    counts = stream.stream.counts
    assert counts["processed"] + counts["skipped"] == 40
    assert counts["skipped"] > 25
    assert stream.calls["encode"] == counts["processed"]
    assert stream.calls["denoise"] == counts["processed"] + n - 1
    assert stream.calls["decode"] == counts["processed"]
    assert [frame.index for frame in out] == list(range(40))


def test_f_frames_per_call_skip_too() -> None:
    stream = RecordingStream(**FILTER, frame_buffer_size=2)
    out = stream(still(30))
    assert [frame.index for frame in out] == list(range(30))
    assert stream.stream.counts["skipped"] > 15
    assert stream.calls["encode"] == -(-stream.stream.counts["processed"] // 2)


@pytest.mark.parametrize("n", STEPS)
def test_after_a_cut_to_a_still_scene_the_new_scene_is_shown_at_once(n: int) -> None:
    """In the published code the old scene stayed: frames in flight stalled behind skipped ones."""
    stream = RecordingStream(**FILTER, t_index_list=STEPS[n])
    live = stream.config.live
    frames = still(30) + still(30, seed=1, first=30)
    shown: dict[int, list[int]] = {}
    for frame in frames:
        shown[frame.index] = [output.index for output in stream.stream(frame, live)]
    calls_until_shown = next(k for k in range(30, 60) if 30 in shown[k]) - 30
    assert calls_until_shown == n - 1


@pytest.mark.parametrize("n", STEPS)
def test_each_output_shows_its_own_scene(n: int) -> None:
    frames = still(15) + still(15, seed=1, first=15) + moving(4, seed=3) + still(9, seed=2)
    frames = [Frame(frame.image, i, i / 30) for i, frame in enumerate(frames)]
    steps = {"t_index_list": STEPS[n]}
    filtered, plain = RecordingStream(**FILTER, **steps)(frames), RecordingStream(**steps)(frames)
    assert [frame.index for frame in filtered] == list(range(len(frames)))
    assert np.abs(images(filtered).astype(int) - images(plain)).max() <= 1


def test_no_frame_is_shown_before_the_first_output() -> None:
    stream = RecordingStream(**FILTER, t_index_list=STEPS[4])
    live = stream.config.live
    for index, frame in enumerate(still(4)):
        assert len(stream.stream(frame, live)) == (1 if index == 3 else 0)


@pytest.mark.parametrize("n", STEPS)
@pytest.mark.parametrize("change", [{"prompt": "a red dog"}, {"seed": 5}, {"guidance_scale": 2.0}])
def test_a_live_change_shows_on_a_still_scene_without_waiting(n: int, change: dict) -> None:
    stream = RecordingStream(**FILTER, t_index_list=STEPS[n])
    live = stream.config.live
    for frame in still(30):
        stream.stream(frame, live)
    changed, before = live.changed(change), stream.calls["denoise"]
    for frame in still(n, first=30):
        stream.stream(frame, changed)
    assert stream.calls["denoise"] == before + n


def test_skips_depend_on_the_seed_and_the_threshold() -> None:
    rng = np.random.default_rng(0)
    scene = moving(1)[0].image.astype(int)
    grainy = [np.clip(scene + rng.normal(0, 8, scene.shape), 0, 255) for _ in range(60)]
    frames = [Frame(image.astype(np.uint8), i, i / 30) for i, image in enumerate(grainy)]

    def skipped(**values: object) -> list[bool]:
        stream = RecordingStream(**FILTER, t_index_list="45", **values)
        counts = []
        for frame in frames:
            stream.stream(frame, stream.config.live)
            counts.append(stream.stream.counts["skipped"])
        return [b > a for a, b in zip([0, *counts], counts, strict=False)]

    as_ever = skipped()
    assert skipped() == as_ever
    assert skipped(seed=3) != as_ever
    assert sum(skipped(similar_image_filter_threshold=0.5)) > sum(as_ever)
    assert not any(skipped(similar_image_filter_threshold=1.0))


def test_images_made_from_noise_alone_are_never_skipped() -> None:
    stream = RecordingStream(**FILTER, mode="txt2img", t_index_list="0")
    out = images(stream(still(6)))
    assert stream.stream.counts["skipped"] == 0
    assert not np.array_equal(out[0], out[1])


def test_the_metric_can_be_the_cosine_of_the_paper() -> None:
    frames = [Frame(stage(4, 4 + 2 * i), i, i / 30) for i in range(20)]
    with_centred, with_cosine = (
        RecordingStream(
            **FILTER,
            similar_image_filter_metric=metric,
            t_index_list="45",
            similar_image_filter_threshold=0.8,
        )
        for metric in ("centred", "cosine")
    )
    for stream in (with_centred, with_cosine):
        stream(frames)
    assert with_centred.stream.counts["skipped"] < with_cosine.stream.counts["skipped"]
