"""A loop that must not end is run again, whatever it raises."""

import logging
import threading

import pytest

from streamcam.errors import StreamcamError
from streamcam.system.backoff import Backoff
from streamcam.system.supervised_thread import MAX_FAILURES, SupervisedThread

AT_ONCE = Backoff(first=0.0, longest=0.0)


class Loop:
    """A loop that raises what it was given, one after the other, and then returns."""

    def __init__(self, *errors: BaseException) -> None:
        self.runs = 0
        self._errors = list(errors)

    def __call__(self) -> None:
        self.runs += 1
        if self._errors:
            raise self._errors.pop(0)


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), MemoryError(), SystemExit(3), KeyboardInterrupt()]
)
def test_a_loop_is_run_again_whatever_it_raises(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(error, error)
    thread = SupervisedThread("capture", loop, threading.Event(), backoff=AT_ONCE)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert loop.runs == 3
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR] == [
        "the thread capture failed; running it again"
    ] * 2


def test_an_error_of_the_report_does_not_end_the_thread() -> None:
    def fail(error: BaseException) -> None:
        raise OSError("the log is gone") from error

    loop = Loop(ValueError("a bug"))
    thread = SupervisedThread("osc", loop, threading.Event(), on_error=fail, backoff=AT_ONCE)
    thread.start()
    thread.join(10)
    assert loop.runs == 2


def test_a_loop_that_cannot_go_on_gives_up_with_its_reason() -> None:
    loop = Loop(*(ValueError("no clock") for _ in range(100)))
    given_up: list[StreamcamError] = []
    thread = SupervisedThread(
        "output", loop, threading.Event(), on_give_up=given_up.append, backoff=AT_ONCE
    )
    thread.start()
    thread.join(10)
    assert [str(error) for error in given_up] == [
        "the thread output fails again and again: no clock"
    ]
    assert loop.runs == MAX_FAILURES


def test_stopping_ends_a_pause() -> None:
    failed, stopping = threading.Event(), threading.Event()
    thread = SupervisedThread(
        "sink",
        Loop(ValueError("a bug"), ValueError("never raised")),
        stopping,
        on_error=lambda _: failed.set(),
        backoff=Backoff(first=3600.0, longest=3600.0),
    )
    thread.start()
    assert failed.wait(10)
    stopping.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_thread_that_cannot_be_started_is_an_error_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    thread = SupervisedThread("osc", Loop(), threading.Event())
    with pytest.raises(StreamcamError, match="ulimit -u"):
        thread.start()
    thread.join()  # As an end in order does.
