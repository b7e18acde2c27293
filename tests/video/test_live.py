"""The video stream on air: frames wait, are given up and counted, and what runs may change."""

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from streamcam.types import Frame
from streamcam.video.cache_plan import CacheShape
from streamcam.video.layers import Layers
from streamcam.video.live import LiveVideoStream
from streamcam.video.rollout import Rollout, Steps
from streamcam.video.schedule import Flow
from streamcam.video.slo import Choice, Table
from streamcam.video.stream import VideoStream
from tests.streams import images, moving
from tests.video.streams import Streamed, loaded

ONE, BOTH, IN_TURN = Choice(1, 1, True), Choice(1, 2, True), Choice(1, 2, False)


def on_air(table: Table | None, **settings: Any) -> LiveVideoStream:
    patient: dict[str, Any] = {"steps": 2, "deadline": 60, "target_fps": 30}
    config = Streamed(**patient | settings).config
    return LiveVideoStream(loaded("wan", "wan"), config, table)


def live(stream: VideoStream, frames: Iterable[Frame], **changes: Any) -> list[Frame]:
    """Feed `frames` as a camera of 30 fps would have taken them until now."""
    parameters = stream._config.live.changed(changes)
    frames = list(frames)
    now = time.monotonic()
    came = [Frame(f.image, f.index, now - (len(frames) - i) / 30) for i, f in enumerate(frames)]
    return [picture for frame in came for picture in stream(frame, parameters)]


def test_a_model_that_keeps_up_makes_the_pictures_that_render_makes() -> None:
    frames = moving(21, size=32)
    made = live(on_air({BOTH: 0.05}), frames)
    rendered = [p for out in Streamed(steps=2)(frames)[:-1] for p in out]
    assert [f.index for f in made] == [*range(17)]
    assert np.array_equal(images(made), images(rendered))


def test_no_frame_is_lost_when_the_steps_change() -> None:
    stream, frames = on_air({ONE: 0.05, BOTH: 0.05}), moving(45, size=32)
    assert stream._scheduler is not None
    made = live(stream, frames[:21])
    assert stream.tally.startswith("2 steps, batched")
    # Two steps of a call that takes half a second no longer keep 30 fps; nor does one, but it is
    # the fewest there are.
    stream._scheduler.table[ONE] = 0.001
    for _ in range(15):
        stream._scheduler.ran(BOTH, 0.5)
    made += live(stream, frames[21:33])
    assert stream.tally.startswith("1 step, 4 frames")
    assert [f.index for f in made] == [*range(33)]
    for _ in range(15):
        stream._scheduler.ran(ONE, 0.001)
    made += live(stream, frames[33:])
    assert [f.index for f in made] == [*range(41)]
    assert images(made)[-4:].std() > 1


def test_frames_that_do_not_fit_the_queue_are_counted_and_the_newest_are_shown() -> None:
    stream = on_air({ONE: 0.001}, steps=1, input_capacity=8)
    now, frames = time.monotonic(), moving(31, size=32)
    for frame in frames[:-1]:
        stream.put(Frame(frame.image, frame.index, now))
    made = stream(Frame(frames[-1].image, 30, now), stream._config.live)
    assert [f.index for f in made] == [23, 24, 25, 26, 27]
    assert stream.counts["dropped"] == 31 - 8
    assert ", 23 frames dropped" in stream.tally


def test_warming_up_measures_every_way_to_run_and_leaves_no_trace() -> None:
    stream = on_air(None, max_chunk_latents=9, kv_frames=5)
    stream.warm_up()
    # Two latent frames fit beside the sinks, three do not.
    ways = {ONE, BOTH, IN_TURN, *(c._replace(chunk=2) for c in (ONE, BOTH, IN_TURN))}
    assert stream._table is not None
    assert set(stream._table) == ways
    assert all(0 < seconds < 10 for seconds in stream._table.values())
    assert not stream.counts
    assert ", 0 frames dropped" in stream.tally


def test_a_model_that_is_far_too_slow_is_not_measured_for_long() -> None:
    stream = on_air(None, deadline=0.001)
    stream.warm_up()
    assert stream._table is not None
    assert set(stream._table) == {ONE}


@pytest.mark.parametrize("kind", ["recache", "restart"])
def test_a_new_prompt_and_a_reset_lose_no_frame(kind: str) -> None:
    stream, frames = on_air({BOTH: 0.05}, prompt_change=kind), moving(42, size=32)
    made = live(stream, frames[:13])
    made += live(stream, frames[13:25], prompt="a dog")
    made += live(stream, frames[25:], prompt="a dog", reset=1)
    assert [f.index for f in made] == [*range(38)]


@torch.inference_mode()
def test_steps_change_without_forgetting() -> None:
    layers, embeds = loaded("wan", "wan").layers, torch.ones(1, 4, 32)
    both = Steps((700, 400), Flow.shifted(8))

    def chunk(k: int) -> torch.Tensor:
        return torch.randn(1, 16, 4, 8, generator=torch.Generator().manual_seed(k))

    def video(*, batched: bool) -> Rollout:
        run = Rollout(
            Layers(layers.model),
            embeds,
            CacheShape(4, 1),
            both,
            lambda like, step: torch.full_like(like, 0.1 * step),
            rows=2,
            batched=batched,
        )
        run.at_once(chunk(0), 700)
        return run

    begun = video(batched=True)
    begun.spread()
    changed = video(batched=False)
    changed.change(both, batched=True)
    for k in range(1, 8):
        made, expected = changed.advance(chunk(k), 700), begun.advance(chunk(k), 700)
        assert (made is None) == (expected is None) == (k < 2)
        if made is not None and expected is not None:
            torch.testing.assert_close(made, expected)
