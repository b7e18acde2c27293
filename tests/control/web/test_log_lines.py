"""The newest lines of the log, as a page is shown them."""

import logging
from collections.abc import Iterator

import pytest

from streamcam.control.web.log_lines import MAX_LINES, LogLines

URL = "rtsp://us3r:s3cret@host/live?token=t0ken"


@pytest.fixture
def lines() -> Iterator[LogLines]:
    """The lines of a logger of their own."""
    lines = LogLines(lambda: None)
    logger = logging.getLogger("a.broadcast")
    logger.addHandler(lines)
    yield lines
    logger.removeHandler(lines)


def texts(lines: LogLines, count: int = 0) -> list[str]:
    return [line["text"] for line in lines.since(count)]


def test_only_new_lines_are_given_and_the_oldest_make_room(lines: LogLines) -> None:
    log = logging.getLogger("a.broadcast")
    for number in range(40):
        log.warning("line %d", number)
    assert texts(lines, 38) == ["line 38", "line 39"]
    for number in range(MAX_LINES):
        lines.emit(log.makeRecord(log.name, 30, "", 0, f"next {number}", (), None))
    assert len(texts(lines)) == MAX_LINES
    assert lines.count == MAX_LINES + 40


def test_a_line_has_no_secrets_and_no_characters_that_move_the_cursor(lines: LogLines) -> None:
    try:
        raise OSError(f"cannot open {URL}")
    except OSError:
        logging.getLogger("a.broadcast").exception("source \x1b[2J %s", URL)
    (line,) = lines.since(0)
    assert line["level"] == "error"
    assert "OSError" in line["text"] or "cannot open rtsp://host/live" in line["text"]
    assert not any(secret in line["text"] for secret in ("us3r", "s3cret", "t0ken", "\x1b"))


def test_a_flood_of_lines_is_left_out_here_and_stays_as_it_is_elsewhere(
    lines: LogLines, caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("a.broadcast")
    for number in range(200):
        log.warning("again %d", number)
    assert len(texts(lines)) < 100
    assert caplog.messages == [f"again {number}" for number in range(200)]


def test_warnings_that_nothing_else_takes_are_printed_as_without_a_page(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("a.program.of.its.own")
    logger.propagate = False
    lines = LogLines(lambda: None)
    logger.addHandler(lines)
    logger.warning("the camera is gone")
    other = logging.NullHandler()
    logger.addHandler(other)
    logger.warning("and back")
    assert capsys.readouterr().err == "the camera is gone\n"
    assert texts(lines) == ["the camera is gone", "and back"]


def test_a_listener_that_fails_harms_nobody_who_logs() -> None:
    def fail() -> None:
        raise OSError("no loop")

    record = logging.makeLogRecord({"msg": "on air", "levelno": logging.INFO})
    assert not LogLines(fail).handle(record)
