"""Whatever a thread of a broadcast runs into, it goes on, or the broadcast ends with an error."""

import errno
import itertools
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from streamcam.control.state import Control
from streamcam.errors import MediaError, StreamcamError
from streamcam.runtime import broadcast as broadcast_module
from streamcam.runtime import capture as capture_module
from streamcam.runtime import engine_process as engine_module
from streamcam.runtime import sink_thread as sink_module
from streamcam.runtime.capture import Capture
from streamcam.runtime.engine_process import LOST, EngineProcess
from streamcam.runtime.sink_thread import OutgoingFrame, SinkThread
from streamcam.settings.config_layers import build_config
from streamcam.system.backoff import Backoff
from streamcam.types import Frame
from tests.runtime.broadcast_helpers import SMALL, FakeCamera, RecordingSink, on_air, until

ERRORS = [ValueError("a bug"), MemoryError(), SystemExit(1)]
"""A plugin may even raise the last."""
IMAGE = np.zeros((48, 64, 3), np.uint8)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (broadcast_module, capture_module, engine_module, sink_module):
        monkeypatch.setattr(module, "Backoff", lambda **_: Backoff(first=0.001, longest=0.001))


class BreakingCamera(FakeCamera):
    """A camera that raises all of `ERRORS`, one at a time, before its first frame."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[BaseException] = list(ERRORS)

    def __iter__(self) -> Iterator[Frame]:
        if self.errors:
            raise self.errors.pop()
        return super().__iter__()


def test_the_source_is_opened_again_whatever_it_raises() -> None:
    source, came = BreakingCamera(), threading.Event()
    parameters = build_config([SMALL]).live
    capture = Capture(source, lambda: parameters, lambda _: came.set())
    capture.start()
    assert came.wait(10)
    assert not source.errors
    assert capture.problem(time.monotonic()) is None
    capture.ask_to_stop()
    capture.join(10)


class BreakingSink(RecordingSink):
    """A sink that raises what it is given, one at a time, instead of taking a frame."""

    def __init__(self, *errors: BaseException, takes: int = 0) -> None:
        super().__init__()
        self.errors = list(errors)
        self.taken = self.takes = takes
        """Frames that it takes each time it is opened, before it raises."""

    def __enter__(self) -> "BreakingSink":
        super().__enter__()
        self.taken = 0
        return self

    def send(self, frame: Frame) -> None:
        if self.errors and self.taken >= self.takes:
            raise self.errors.pop()
        self.taken += 1
        super().send(frame)


def send_until(thread: SinkThread, sink: BreakingSink, frames: int) -> None:
    """Send numbered frames until the sink has raised all, and then taken so many."""
    numbers = iter(range(10**6))

    def taken() -> bool:
        thread.put(OutgoingFrame(Frame(IMAGE, next(numbers), 0.0), fresh=False))
        return not sink.errors and sink.taken >= frames

    until(taken)
    thread.ask_to_stop()
    thread.join(10)


def test_a_sink_is_opened_again_whatever_it_raises() -> None:
    sink = BreakingSink(*ERRORS)
    thread = SinkThread("sink", sink)
    thread.start()
    send_until(thread, sink, 1)
    assert sink.opened == sink.closed == len(ERRORS) + 1
    assert thread.problem is None


def test_a_sink_that_has_failed_is_opened_again_at_once_when_it_is_asked_to() -> None:
    sink = BreakingSink(MediaError("the disk is full"))
    # Only whoever asks ends the pause.
    thread = SinkThread("recorder", sink, Backoff(first=3600, longest=3600))
    assert not thread.retry()
    thread.start()
    until(lambda: thread.put(OutgoingFrame(Frame(IMAGE, 0, 0.0), fresh=False)) or sink.closed)
    until(lambda: thread.state.problem == "the disk is full")
    assert thread.retry()
    send_until(thread, sink, 1)
    assert thread.state.problem is None
    assert not thread.retry()


def test_a_sink_that_comes_and_goes_is_not_reported_back_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink = BreakingSink(*(MediaError(f"full, kept {n}.mkv") for n in range(9)), takes=2)
    thread = SinkThread("recorder", sink)
    with caplog.at_level(logging.INFO):
        thread.start()
        send_until(thread, sink, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "recorder: full, kept 8.mkv; trying again",
        "recorder is back",
    ]


def test_a_sink_that_is_opened_again_gets_no_old_frames() -> None:
    let_go, failing = threading.Event(), threading.Event()

    class FailingLate(BreakingSink):
        """A sink that is busy with its first frame while others wait, and then fails."""

        def send(self, frame: Frame) -> None:
            failing.set()
            assert let_go.wait(10)
            super().send(frame)

    sink = FailingLate(MediaError("the disk is full"))
    thread = SinkThread("sink", sink)
    thread.start()
    until(lambda: thread.put(OutgoingFrame(Frame(IMAGE, 0, 0.0), fresh=False)) or failing.is_set())
    for _ in range(3):
        thread.put(OutgoingFrame(Frame(IMAGE, 0, 0.0), fresh=False))
    let_go.set()
    until(lambda: sink.opened == 2)
    thread.put(OutgoingFrame(Frame(IMAGE, 1, 0.0), fresh=False))
    until(lambda: thread.put(OutgoingFrame(Frame(IMAGE, 2, 0.0), fresh=False)) or sink.frames)
    thread.ask_to_stop()
    thread.join(10)
    assert 0 not in [frame.index for frame in sink.frames]


class BreakingControl(Control):
    """Parameters that cannot be read while there are errors left."""

    errors: list[BaseException]

    def advance(self) -> Any:
        if self.errors:
            raise self.errors.pop()
        return super().advance()


def test_the_output_goes_on_whatever_a_tick_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BreakingControl, "errors", list(ERRORS), raising=False)
    monkeypatch.setattr("tests.runtime.broadcast_helpers.Control", BreakingControl)
    with on_air(model="passthrough") as (broadcast, _, _, seen):
        seen.wait_for(3)
        assert not BreakingControl.errors
        assert not broadcast.over.is_set()


def test_an_output_that_cannot_go_on_ends_the_broadcast_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errors = [ValueError("no clock") for _ in range(1000)]
    monkeypatch.setattr(BreakingControl, "errors", errors, raising=False)
    monkeypatch.setattr("tests.runtime.broadcast_helpers.Control", BreakingControl)
    with on_air(model="passthrough") as (broadcast, _, _, _):
        assert broadcast.over.wait(20)
        assert "no clock" in str(broadcast.failed)


def test_an_engine_is_tried_again_whatever_keeps_it_from_being_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures = [*ERRORS, OSError(errno.EMFILE, os.strerror(errno.EMFILE))] * 2
    exhausted = threading.Event()

    class NoContext:
        """A multiprocessing context in a process that has run out of everything."""

        def Pipe(self) -> Any:
            if not failures:
                exhausted.set()
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            raise failures.pop()

    monkeypatch.setattr(multiprocessing, "get_context", lambda _: NoContext())
    fatal: list[StreamcamError] = []
    engine = EngineProcess(build_config([SMALL]), fatal.append)
    engine.start()
    try:
        assert exhausted.wait(20)
        until(lambda: engine.state == LOST)
        assert engine.outputs() == []
        assert not fatal
    finally:
        engine.stop()


def test_an_engine_may_be_stopped_while_others_use_it() -> None:
    config = build_config([SMALL])
    engine = EngineProcess(config, lambda _: None)
    began, done = threading.Event(), threading.Event()

    def offer() -> None:
        for index in itertools.count():
            engine.offer(Frame(IMAGE, index, 0.0), config.live)
            began.set()
            if done.is_set():
                return

    def ask() -> None:
        while not done.is_set():
            engine.outputs()
            assert engine.taken == engine.dropped == engine.skipped == 0

    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(task) for task in (offer, ask, ask)]
        assert began.wait(10)
        engine.stop()
        done.set()
        for other in others:
            other.result()


def test_a_broadcast_whose_threads_cannot_all_start_ends_those_that_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "capture":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    sink = RecordingSink()
    with ExitStack() as stack, pytest.raises(StreamcamError, match="ulimit -u"):
        stack.enter_context(on_air(model="passthrough", sinks={"sink": sink}))
    assert sink.opened == sink.closed
    assert not {"output", "sink", "seen"} & {thread.name for thread in threading.enumerate()}
