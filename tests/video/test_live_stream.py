"""Video stream on air: frames wait, are dropped and counted, and the choice may change."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch

from streamcam.engines.device_memory import OutOfMemory, out_of_memory_errors
from streamcam.types import Frame
from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Call, Layers
from streamcam.video.flow_matching import FlowSchedule, Steps
from streamcam.video.live_stream import LiveVideoStream
from streamcam.video.rollout import Rollout
from streamcam.video.scheduler import Choice, LatencyTable
from streamcam.video.video_model import load_video_model
from streamcam.video.video_stream import VideoStream
from tests.support.streams import images, moving
from tests.video.video_streams import SELF_FORCING, RecordingStream, loaded

ONE, BOTH, IN_TURN = Choice(1, 1, True), Choice(1, 2, True), Choice(1, 2, False)


def on_air(
    table: LatencyTable | None, report: Callable[[str], None] = print, **settings: Any
) -> LiveVideoStream:
    patient: dict[str, Any] = {"steps": 2, "deadline": 60, "target_fps": 30}
    config = RecordingStream(**patient | settings).config
    return LiveVideoStream(loaded("wan", "wan"), config, table, report)


def live(stream: VideoStream, frames: Iterable[Frame], **changes: Any) -> list[Frame]:
    """Feed `frames` with the times of a camera of 30 fps whose last frame is of now."""
    parameters = stream._config.live.changed(changes)
    frames = list(frames)
    now = time.monotonic()
    received = [Frame(f.image, f.index, now - (len(frames) - i) / 30) for i, f in enumerate(frames)]
    return [output for frame in received for output in stream(frame, parameters)]


def test_a_model_that_keeps_up_gives_the_output_of_render() -> None:
    frames = moving(21, size=32)
    outputs = live(on_air({BOTH: 0.05}), frames)
    rendered = [p for out in RecordingStream(steps=2)(frames)[:-1] for p in out]
    assert [f.index for f in outputs] == [*range(17)]
    assert np.array_equal(images(outputs), images(rendered))


def test_self_forcing_on_air_gives_the_output_of_render() -> None:
    settings = SELF_FORCING | {"chunk_latents": 2, "strength": 0.83}
    frames = moving(21, size=32)
    outputs = live(on_air({Choice(2, 4, False): 0.05}, **settings), frames)
    rendered = [p for out in RecordingStream(**settings)(frames) for p in out]
    assert [f.index for f in outputs] == [*range(21)]
    assert np.array_equal(images(outputs), images(rendered))


def test_warming_up_measures_self_forcing_in_sequence_only() -> None:
    stream = on_air(None, **SELF_FORCING | {"steps": 1})
    stream.warm_up()
    assert stream._table is not None
    assert [*stream._table] == [Choice(1, 1, False)]


def test_no_frame_is_lost_when_the_steps_change() -> None:
    stream, frames = on_air({ONE: 0.05, BOTH: 0.05}), moving(45, size=32)
    assert stream._scheduler is not None
    outputs = live(stream, frames[:21])
    assert stream.delivery_summary.startswith("2 steps, batched")
    # Two steps of a call that takes half a second no longer keep 30 fps; nor does one, but it is
    # the fewest there are.
    stream._scheduler.table[ONE] = 0.001
    for _ in range(15):
        stream._scheduler.record_call(BOTH, 0.5)
    outputs += live(stream, frames[21:33])
    assert stream.delivery_summary.startswith("1 step, 4 frames")
    assert [f.index for f in outputs] == [*range(33)]
    for _ in range(15):
        stream._scheduler.record_call(ONE, 0.001)
    outputs += live(stream, frames[33:])
    assert [f.index for f in outputs] == [*range(41)]
    assert images(outputs)[-4:].std() > 1


def test_frames_that_do_not_fit_the_queue_are_counted_and_the_newest_are_kept() -> None:
    stream = on_air({ONE: 0.001}, steps=1, input_capacity=8)
    now, frames = time.monotonic(), moving(31, size=32)
    for frame in frames[:-1]:
        stream.put(Frame(frame.image, frame.index, now))
    outputs = stream(Frame(frames[-1].image, 30, now), stream._config.live)
    assert [f.index for f in outputs] == [23, 24, 25, 26, 27]
    assert stream.counts["dropped"] == 31 - 8
    assert ", 23 frames skipped to keep up" in stream.delivery_summary


def test_warming_up_measures_every_choice_and_leaves_no_trace() -> None:
    stream = on_air(None, max_chunk_latents=9, kv_frames=5)
    stream.warm_up()
    # Two latent frames fit beside the sinks, three do not.
    ways = {ONE, BOTH, IN_TURN, *(c._replace(chunk=2) for c in (ONE, BOTH, IN_TURN))}
    assert stream._table is not None
    assert set(stream._table) == ways
    assert all(0 < seconds < 10 for seconds in stream._table.values())
    assert not stream.counts
    assert ", 0 frames skipped to keep up" in stream.delivery_summary


def test_a_model_that_is_far_too_slow_is_not_measured_for_long() -> None:
    stream = on_air(None, deadline=0.001)
    stream.warm_up()
    assert stream._table is not None
    assert set(stream._table) == {ONE}


def out_of_memory(*, from_rows: int) -> Any:
    """Return `Layers.run` that runs out of memory from `from_rows` rows on."""
    run = Layers.run

    def limited(self: Layers, call: Call, x: torch.Tensor) -> torch.Tensor:
        if len(call.rows) >= from_rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nMore.")
        return run(self, call, x)

    return limited


def test_choices_that_run_out_of_memory_are_left_out_and_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[str] = []
    stream = on_air(None, report=reported.append)
    monkeypatch.setattr(Layers, "run", out_of_memory(from_rows=2))
    stream.warm_up()
    assert stream._table is not None
    assert set(stream._table) == {ONE, IN_TURN}
    assert len(reported) == 1
    assert reported[0].startswith(
        "no memory for 2 steps, batched, 4 frames, which is left out: CUDA"
    )
    outputs = live(stream, moving(9, size=32))
    assert [f.index for f in outputs] == [*range(9)]


def test_a_model_that_does_not_fit_in_memory_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = on_air(None)
    monkeypatch.setattr(Layers, "run", out_of_memory(from_rows=1))
    with pytest.raises(OutOfMemory, match=r"^CUDA out of memory.*: take a smaller width"):
        stream.warm_up()


def test_running_out_of_main_memory_is_distinguished_from_other_errors() -> None:
    with pytest.raises(OutOfMemory, match="allocate memory"), out_of_memory_errors():
        torch.empty(2**52)
    with pytest.raises(RuntimeError, match="shape"), out_of_memory_errors():
        torch.zeros(2).reshape(3)


def test_on_air_every_number_of_rows_is_compiled_and_in_a_render_only_the_full_batch() -> None:
    config = RecordingStream(steps=3, acceleration="compiled").config
    rows = [load_video_model(config, lambda _: None, live=on).layers.model for on in (True, False)]
    assert [sorted(model._compiled_rows) for model in rows] == [[1, 2, 3], [3]]


@pytest.mark.parametrize("kind", ["recache", "restart"])
def test_a_new_prompt_and_a_reset_lose_no_frame(kind: str) -> None:
    stream, frames = on_air({BOTH: 0.05}, prompt_change=kind), moving(42, size=32)
    outputs = live(stream, frames[:13])
    outputs += live(stream, frames[13:25], prompt="a dog")
    outputs += live(stream, frames[25:], prompt="a dog", reset=1)
    assert [f.index for f in outputs] == [*range(38)]


@torch.inference_mode()
def test_steps_change_without_losing_the_cache() -> None:
    layers, embeds = loaded("wan", "wan").layers, torch.ones(1, 4, 32)
    both = Steps((700, 400), FlowSchedule.shifted(8))

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
        run.denoise_sequentially(chunk(0), 700)
        return run

    begun = video(batched=True)
    begun.copy_row()
    changed = video(batched=False)
    changed.set_steps(both, batched=True)
    for k in range(1, 8):
        outputs, expected = changed.advance(chunk(k), 700), begun.advance(chunk(k), 700)
        assert (outputs is None) == (expected is None) == (k < 2)
        if outputs is not None and expected is not None:
            torch.testing.assert_close(outputs, expected)
