"""Failures and their ends are logged once each, however often something comes and goes."""

import logging
from collections.abc import Iterator

import pytest

from streamcam.errors import MediaError
from streamcam.runtime.outage_log import STEADY_S, OutageLog

FULL = MediaError("the disk is full; recorded until then: show.mkv")
LOST, BACK = f"recorder: {FULL}; trying again", "recorder is back"


class Story:
    """An outage log with a clock of its own, and the lines that it logs."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 0.0
        self._caplog = caplog
        log = logging.getLogger("streamcam.somewhere")
        self.outages = OutageLog(
            log, failed="recorder: ", bug="failed", back=BACK, clock=lambda: self.now
        )

    @property
    def lines(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records]


@pytest.fixture
def story(caplog: pytest.LogCaptureFixture) -> Iterator[Story]:
    with caplog.at_level(logging.INFO):
        yield Story(caplog)


def test_a_failure_and_its_end_are_logged_once(story: Story) -> None:
    for _ in range(5):
        story.outages.failed(FULL)
    assert story.outages.problem == str(FULL)
    for _ in range(5):
        story.outages.works()
    assert story.outages.problem is None
    assert story.lines == [LOST, BACK]


def test_what_comes_and_goes_is_back_only_once_it_stays(story: Story) -> None:
    for number in range(20):
        story.outages.failed(MediaError(f"the disk is full; recorded until then: show-{number}"))
        story.now += 5.0
        story.outages.works()
        story.now += 1.0
    assert story.lines == [
        "recorder: the disk is full; recorded until then: show-0; trying again",
        BACK,
    ]
    story.now += STEADY_S
    story.outages.works()
    story.outages.works()
    assert story.lines[2:] == [BACK]


def test_another_failure_and_one_after_a_healthy_time_are_logged(story: Story) -> None:
    story.outages.failed(FULL)
    story.outages.works()
    story.outages.failed(MediaError("the disk is gone"))
    story.outages.works()
    story.now += STEADY_S
    story.outages.failed(MediaError("the disk is gone"))
    gone = "recorder: the disk is gone; trying again"
    assert story.lines == [LOST, BACK, gone, BACK, gone]


def test_a_handler_that_raises_fails_nothing_that_works() -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError(f"the log is gone: {record.getMessage()}")

    log = logging.Logger("streamcam.somewhere")
    log.addHandler(Broken())
    outages = OutageLog(log, failed="recorder: ", bug="failed", back=BACK)
    outages.failed(FULL)
    assert outages.problem == str(FULL)
    outages.works()
    assert outages.problem is None


def test_a_bug_is_logged_with_its_traceback_once(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        story.outages.failed(ZeroDivisionError("division by zero"))
    assert story.outages.problem == "failed"
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[0] is ZeroDivisionError


def test_a_problem_shows_no_password(story: Story, caplog: pytest.LogCaptureFixture) -> None:
    story.outages.failed(MediaError("cannot read rtsp://us3r:s3cret@host/live"))
    assert story.outages.problem == "cannot read rtsp://host/live"
    assert "s3cret" not in caplog.text
