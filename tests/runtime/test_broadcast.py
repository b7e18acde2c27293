"""A broadcast sends frames at every tick, whatever happens to source, engine or a sink."""

import logging
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import psutil
import pytest

from streamcam.errors import EngineError
from streamcam.runtime import broadcast as broadcast_module
from streamcam.stats import Status
from streamcam.types import Frame
from tests.runtime.broadcast_helpers import (
    SLATE,
    FakeCamera,
    RecordingSink,
    engine_process,
    is_engine,
    on_air,
    until,
)
from tests.support.media import run_script
from tests.support.shared_memory import shared_memory

RED, BLUE = (200, 40, 90), (20, 60, 220)
BLACK = (0, 0, 0)
GAP_S = 1.0
"""A machine busy with other tests slows this one too; the device tests ask for 0.1."""


def near(colour: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return all(abs(a - b) <= 2 for a, b in zip(colour, wanted, strict=True))


def test_a_slate_is_on_air_before_the_engine_is_up() -> None:
    began = time.monotonic()
    with on_air() as (broadcast, _, _, seen):
        until(lambda: seen.frames)
        assert time.monotonic() - began < 2
        assert broadcast.status().state == "loading"
        assert seen.colour() == SLATE
        until(lambda: near(seen.colour(), RED))


def test_frames_go_out_steadily_and_their_latency_is_measured() -> None:
    with on_air() as (broadcast, _, _, seen):
        until(lambda: near(seen.colour(), RED))
        # In one second of those that a busy machine gives.
        until(lambda: is_steady(broadcast.status(), seen), 60, every=0.1)
        assert broadcast.status().state == "running"


def is_steady(status: Status, seen: RecordingSink) -> bool:
    """Return whether the last second had its 50 frames, with a plausible latency."""
    end = seen.times[-1]
    return (
        40 <= sum(t > end - 1 for t in seen.times) <= 55
        and status.fps_model == pytest.approx(50, rel=0.3)
        and status.latency_p50 is not None
        and 0 < status.latency_p50 < 0.2
    )


@pytest.mark.parametrize(("policy", "shown"), [("camera", BLUE), ("hold", RED), ("slate", SLATE)])
def test_a_killed_engine_is_restarted_and_on_engine_loss_is_shown_meanwhile(
    policy: str, shown: tuple[int, ...]
) -> None:
    source = FakeCamera(RED)
    with on_air(source=source, on_engine_loss=policy) as (broadcast, _, _, seen):
        until(lambda: near(seen.colour(), RED))
        began = time.monotonic()
        engine_process().kill()
        until(lambda: broadcast.status().state != "running")
        source.image = source.image.copy()
        source.image[:] = BLUE
        seen.wait_for(5)
        until(lambda: near(seen.colour(), shown))
        until(lambda: broadcast.status().state == "running")
        until(lambda: near(seen.colour(), BLUE))
        assert broadcast.status().restarts == 1
        assert seen.longest_gap(began) < GAP_S


@pytest.mark.usefixtures("deleted_folder")
def test_an_engine_starts_also_when_the_current_folder_has_been_deleted() -> None:
    with on_air() as (_, _, _, seen):
        until(lambda: near(seen.colour(), RED))


def test_a_hung_engine_is_restarted_after_its_deadline() -> None:
    with on_air(engine_deadline=0.5) as (broadcast, _, _, seen):
        until(lambda: near(seen.colour(), RED))
        hung = engine_process()
        began = time.monotonic()
        hung.suspend()
        until(lambda: broadcast.status().state == "lost")
        assert 0.4 < time.monotonic() - began < 10
        assert not hung.is_running()
        until(lambda: broadcast.status().state == "running")
        assert seen.longest_gap(began) < GAP_S


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"blackout": True}, BLACK),
        ({"panic": True}, SLATE),
        ({"bypass": True}, BLUE),
        ({"mix": 0.0}, BLUE),
        ({"mix": 0.5}, (110, 50, 155)),
    ],
)
def test_the_switcher_acts_within_a_frame_while_the_engine_hangs(
    change: dict[str, object], shown: tuple[int, ...]
) -> None:
    source = FakeCamera(RED)
    with on_air(source=source) as (_, control, _, seen):
        until(lambda: near(seen.colour(), RED))
        engine = engine_process()
        engine.suspend()
        source.image = source.image.copy()
        source.image[:] = BLUE
        seen.wait_for(10)
        assert near(seen.colour(), RED)
        control.change(change)
        before = len(seen.frames)
        until(lambda: near(seen.colour(), shown))
        # One frame may be in the queue, and one being sent.
        until(lambda: len(seen.frames) > before + 2)
        assert near(seen.colour(before + 2), shown)
        engine.resume()


def test_freeze_holds_what_is_on_air_and_panic_overrides_it() -> None:
    source = FakeCamera(RED)
    with on_air(source=source) as (_, control, _, seen):
        until(lambda: near(seen.colour(), RED))
        control.change({"freeze": True})
        seen.wait_for(5)
        source.image = source.image.copy()
        source.image[:] = BLUE
        seen.wait_for(10)
        assert near(seen.colour(), RED)
        control.change({"panic": True})
        until(lambda: seen.colour() == SLATE)
        control.change({"panic": False})
        until(lambda: near(seen.colour(), RED))
        control.change({"freeze": False})
        until(lambda: near(seen.colour(), BLUE))


def test_a_lost_source_shows_a_slate_and_is_opened_again() -> None:
    source = FakeCamera(RED)
    with on_air(source=source) as (broadcast, _, _, seen):
        until(lambda: near(seen.colour(), RED))
        began = time.monotonic()
        source.plugged.clear()
        assert until(lambda: seen.colour() == SLATE) < 2
        assert broadcast.status().source == "lost"
        source.plugged.set()
        until(lambda: near(seen.colour(), RED))
        assert broadcast.status().source == "live"
        assert seen.longest_gap(began) < GAP_S


def test_a_source_that_stops_sending_is_noticed_within_two_seconds() -> None:
    source = FakeCamera(RED)
    with on_air(source=source) as (broadcast, _, _, seen):
        until(lambda: near(seen.colour(), RED))
        source.silent.set()
        assert until(lambda: seen.colour() == SLATE) < 2.1
        assert broadcast.status().source == "lost"
        source.silent.clear()
        until(lambda: near(seen.colour(), RED))


def test_frame_indices_go_on_when_the_source_is_opened_again() -> None:
    source = FakeCamera(RED)
    with on_air(source=source) as (_, _, _, seen):
        until(lambda: near(seen.colour(), RED))
        source.plugged.clear()
        until(lambda: seen.colour() == SLATE)
        source.plugged.set()
        until(lambda: near(seen.colour(), RED))
        indices = [f.index for f in seen.frames if f.index >= 0]
        assert indices == sorted(indices)


def test_a_sink_that_fails_is_retried_and_does_not_delay_the_others() -> None:
    failing = RecordingSink()
    with on_air(sinks={"failing": failing}) as (broadcast, _, _, seen):
        until(lambda: failing.frames and seen.frames)
        failing.failing.set()
        began = time.monotonic()
        until(lambda: any("disk is full" in line for line in broadcast.status().sinks))
        until(lambda: failing.opened >= 2)
        failing.failing.clear()
        count = len(failing.frames)
        until(lambda: len(failing.frames) > count)
        assert failing.opened == failing.closed + 1
        assert seen.longest_gap(began) < GAP_S
    assert failing.opened == failing.closed


class Slow(RecordingSink):
    """A sink that is open at once, and keeps its first picture in hand until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.let_go = Event(), Event()

    def send(self, frame: Frame) -> None:
        self.asked.set()
        assert self.let_go.wait(60)
        super().send(frame)


def test_an_open_sink_counts_as_sending_from_its_first_picture_on() -> None:
    slow = Slow()
    with on_air(sinks={"slow": slow}, model="passthrough") as (broadcast, _, _, seen):
        until(lambda: seen.frames and slow.asked.is_set())
        assert not broadcast.wait_until_sending(0.2)
        assert broadcast.waiting() == ["slow"]
        assert broadcast.sending() == {"seen"}
        slow.let_go.set()
        assert broadcast.wait_until_sending(20)
        assert slow.frames
        assert broadcast.sending() == {"seen", "slow"}


def test_a_sink_that_fails_at_its_first_picture_is_named_and_not_waited_for() -> None:
    failing = RecordingSink()
    failing.failing.set()
    with on_air(sinks={"failing": failing}, model="passthrough") as (broadcast, _, _, _):
        assert broadcast.wait_until_sending(20)
        # Opened again and again, it still counts as failing until it has taken a picture.
        until(lambda: failing.opened >= 3)
        assert broadcast.sending() == {"seen"}
        assert "failing: the disk is full" in broadcast.status().sinks
        failing.failing.clear()
        until(lambda: broadcast.sending() == {"seen", "failing"})


def test_a_sink_that_fails_on_and_on_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    failing = RecordingSink()
    failing.failing.set()
    with caplog.at_level(logging.INFO), on_air(sinks={"failing": failing}, model="passthrough"):
        until(lambda: failing.opened >= 3)
        failing.failing.clear()
        until(lambda: failing.frames)
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if line.startswith("failing")] == [
        "failing: the disk is full; trying again",
        "failing is back",
    ]


def test_a_snapshot_applies_from_a_known_frame_on() -> None:
    with on_air() as (broadcast, control, _, seen):
        until(lambda: near(seen.colour(), RED))
        first, _ = broadcast.applied_parameters()
        control.change({"prompt": "neon", "guidance_scale": 2.0})
        until(lambda: broadcast.applied_parameters()[1].guidance_scale == 2.0)
        index, parameters = broadcast.applied_parameters()
        assert index > first
        assert parameters.prompt == (("neon", 1.0),)


def test_mirror_and_rotate_turn_the_camera() -> None:
    source = FakeCamera(RED)
    source.image = source.image.copy()
    source.image[:, :64] = BLUE
    with on_air(source=source, fit="stretch") as (_, control, _, seen):
        until(lambda: near(seen.colour(), BLUE))
        control.change({"mirror": True})
        until(lambda: near(seen.colour(), RED))
        control.change({"mirror": False, "rotate": "180"})
        until(lambda: near(seen.colour(), RED))


def test_the_model_gets_no_more_frames_than_fps_limit() -> None:
    with on_air(fps_limit=10) as (broadcast, _, _, seen):
        until(lambda: near(seen.colour(), RED))
        seen.wait_for(100)
        until(lambda: broadcast.status().fps_out > 40 and broadcast.status().fps_model > 7, 60)
        assert broadcast.status().fps_model == pytest.approx(10, abs=3)


class PageAndRecorder(RecordingSink):
    """Sink that serves a page and records."""

    url = "http://127.0.0.1:8091/"
    recording: Path | None = None


def test_the_status_names_the_page_the_recording_and_what_is_on_air() -> None:
    sink = PageAndRecorder()
    with on_air(sinks={"both": sink}, model="passthrough", prompt="a cat") as on:
        broadcast, control, _, _ = on
        assert broadcast.wait_until_sending(20)
        status = broadcast.status()
        assert (status.page, status.recording, status.overrides) == (sink.url, None, ())
        assert (status.prompt, status.preset) == ("a cat", None)
        sink.recording = Path("show-2.mkv")
        control.preset = "oil"
        control.change({"panic": True, "prompt": [["a cat", 3], ["a dog", 1]]})
        status = broadcast.status()
        assert (status.overrides, status.recording) == (("panic",), "show-2.mkv")
        assert (status.prompt, status.preset) == ("a cat 75% + a dog 25%", "oil")
        sink.failing.set()
        until(lambda: broadcast.status().page is None)


def test_passthrough_shows_the_camera_and_runs_no_engine() -> None:
    with on_air(model="passthrough") as (broadcast, control, _, seen):
        until(lambda: near(seen.colour(), RED))
        assert broadcast.status().state == "passthrough"
        assert not any(is_engine(p) for p in psutil.Process().children())
        control.change({"blackout": True})
        until(lambda: seen.colour() == BLACK)


def test_passthrough_shows_the_whole_camera_frame_in_any_aspect_ratio() -> None:
    wide = FakeCamera(RED)
    wide.image = np.full((90, 160, 3), RED, np.uint8)
    with on_air(source=wide, model="passthrough", canvas="160x90") as (_, _, _, seen):
        until(lambda: near(seen.colour(), RED))
        assert (seen.frames[-1].image == RED).all()


def test_a_model_that_cannot_be_loaded_ends_the_broadcast_with_its_reason() -> None:
    with on_air(model="./no-such-model.safetensors") as (broadcast, _, _, _):
        until(broadcast.over.is_set, 60)
        assert isinstance(broadcast.failed, EngineError)
        assert "no-such-model.safetensors" in str(broadcast.failed)


def test_a_source_that_ends_ends_the_broadcast() -> None:
    source = FakeCamera(RED)
    with on_air(source=source) as (broadcast, _, _, _):
        until(lambda: source.opened)
        source.stop()
        until(broadcast.over.is_set)
        assert broadcast.status().source == "ended"


def test_no_process_and_no_shared_memory_is_left_behind() -> None:
    with on_air() as (_, _, _, seen):
        until(lambda: near(seen.colour(), RED))
        memory = shared_memory(os.getpid())
        began = time.monotonic()
    assert time.monotonic() - began < 2
    assert not any(is_engine(p) for p in psutil.Process().children())
    assert not [path for path in memory if path.exists()]


HELPER_SIGNALS = """
import psutil
from streamcam.control.state import Control
from streamcam.runtime.broadcast import BroadcastLoop
from tests.runtime.broadcast_helpers import SMALL, FakeCamera, build_config

config = build_config([SMALL])
loop = BroadcastLoop(config, Control(config), FakeCamera(), lambda _: [])
for child in psutil.Process().children():
    status = open(f"/proc/{child.pid}/status").read()
    print(int(status.partition("SigBlk:")[2].split()[0], 16))
loop.engine.stop()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="signals of a process as in /proc")
def test_the_process_that_frees_shared_memory_outlives_the_terminal() -> None:
    masks = [int(mask) for mask in run_script(HELPER_SIGNALS, "").split()]
    assert masks
    assert all(mask >> (signal.SIGHUP - 1) & 1 for mask in masks)


def broadcast_forever() -> None:
    with on_air() as (_, _, _, seen):
        until(lambda: near(seen.colour(), RED))
        time.sleep(600)


def test_the_engine_ends_when_the_broadcast_process_is_killed() -> None:
    process = multiprocessing.get_context("spawn").Process(target=broadcast_forever)
    process.start()
    assert process.pid is not None
    parent = psutil.Process(process.pid)
    until(lambda: any(is_engine(p) for p in parent.children()))
    time.sleep(0.5)
    [engine] = [p for p in parent.children() if is_engine(p)]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    until(lambda: not engine.is_running() or engine.status() == psutil.STATUS_ZOMBIE, 5)


def test_a_new_prompt_changes_the_output_and_no_frame_is_lost_or_torn() -> None:
    settings = {"model": "random:tiny-sd-turbo", "t_index_list": [20], "threads": 1}
    settings |= {"acceleration": "eager"}
    with on_air(canvas="64x48", **settings) as (broadcast, control, _, seen):
        until(lambda: broadcast.status().state == "running", 120)
        until(lambda: broadcast.status().fps_model > 1, 60)
        seen.wait_for(25)
        last, began = len(seen.frames) - 1, time.monotonic()
        control.change({"prompt": "neon cats on the moon"})
        until(lambda: bool((seen.frames[-1].image != seen.frames[last].image).any()))
        seen.wait_for(25)
        # The source does not move: there are just two images, before and after.
        images = {frame.image.tobytes() for frame in seen.frames[last:]}
        assert len(images) == 2
        assert seen.longest_gap(began) < GAP_S
        control.change({"prompt": "a" * 90})
        until(lambda: "the last 15 tokens" in broadcast.status().notice)


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 1), (32, 4)])
def test_on_few_cores_opencv_leaves_them_to_the_model(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    monkeypatch.setattr(broadcast_module, "available_cores", lambda: cores)
    before = cv2.getNumThreads()
    try:
        with on_air(model="passthrough"):
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)
