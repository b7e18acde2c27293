"""Status line and log of a broadcast."""

import errno
import io
import json
import logging
import os
import sys
from dataclasses import replace

import click
import pytest

from streamcam.cli.reporting import reporting, summary
from streamcam.system.standard_streams import MessageFile
from tests.support.scenes import STATUS


def test_the_status_line_shows_rates_latency_and_counts() -> None:
    status = replace(
        STATUS,
        state="running",
        fps_in=30.0,
        fps_model=24.6,
        fps_out=30.0,
        latency_p50=0.0414,
        latency_p95=0.0571,
        dropped=7,
        skipped=0,
        size="448x256",
        vram=3 * 2**30,
        power=81.2,
    )
    line = summary(status)
    assert line == (
        "on air · fps: camera 30, model 24.6 at 448x256, output 30 · delay 41 ms (95% within 57)"
        " · 7 skipped to keep up · 3.0 GiB of GPU memory · 81 W"
    )


def test_the_status_line_shows_what_is_on_air() -> None:
    line = summary(
        replace(
            STATUS,
            overrides=("panic", "freeze"),
            prompt="[red]oil[/red] " + "x" * 100,
            preset="oil",
            notice="understood as: oil",
            recording="/home/me/show-2.mkv",
        )
    )
    assert line.startswith(
        f'PANIC · FREEZE · on air · "[red]oil[/red] {"x" * 24}…" · understood as: oil · preset oil'
        " · recording show-2.mkv · fps:"
    )


def test_the_status_line_shows_a_lost_engine_and_source() -> None:
    line = summary(replace(STATUS, state="lost", source="lost", latency_p50=None, restarts=2))
    assert line.startswith("source lost · restarting the model · fps:")
    assert "2 restarts" in line
    assert summary(replace(STATUS, restarts=1)).endswith(" · 1 restart")
    assert "latency" not in line


@pytest.mark.parametrize("as_json", [True, False])
def test_the_log_shows_no_password_of_a_url(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    url = "rtsp://us3r:s3cret@host/live?token=t0ken"
    with reporting(as_json=as_json):
        logging.getLogger("streamcam").info("source: %s", url)
        try:
            raise ValueError(f"cannot open {url}")
        except ValueError:
            logging.getLogger("a.library").exception("a bug")
    text = capsys.readouterr().err
    assert text.count("rtsp://host/live") == 2
    assert not any(secret in text for secret in ("us3r", "s3cret", "t0ken"))


def test_the_log_is_text_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("streamcam.somewhere")
    with reporting(as_json=False):
        log.warning("the camera is [lost]")
    with reporting(as_json=True):
        log.info("the camera is back")
        try:
            raise ValueError("a bug")
        except ValueError:
            log.exception("it failed")
    log.warning("this is not handled any more")
    text, back, failed = capsys.readouterr().err.splitlines()[:3]
    assert text == "the camera is [lost]"
    assert json.loads(back)["message"] == "the camera is back"
    assert "ValueError: a bug" in json.loads(failed)["trace"]


@pytest.mark.parametrize("name", ["streamcam.somewhere", "asyncio"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_fault_that_repeats_does_not_flood_the_log(
    capsys: pytest.CaptureFixture[str], name: str, as_json: bool
) -> None:
    log = logging.getLogger(name)
    with reporting(as_json=as_json):
        for number in range(5000):
            log.error("socket.accept() out of system resource %d", number)
        log.error("another line")
    *repeated, other = capsys.readouterr().err.splitlines()
    assert 50 <= len(repeated) < 100
    assert "another line" in other
    assert all(json.loads(line)["level"] == "error" for line in [*repeated, other] if as_json)


class Unwritable(io.StringIO):
    """A stream whose disk is full."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_log_that_cannot_be_written_raises_nothing_into_whoever_logs(
    as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Unwritable())
    log = logging.getLogger("streamcam.somewhere")
    with reporting(as_json=as_json):
        log.warning("the camera is lost")
        log.exception("outside of a handler")


def test_lines_that_nobody_read_are_counted_once_there_is_room_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = MessageFile(os.open(os.devnull, os.O_WRONLY))
    stream = io.TextIOWrapper(file, write_through=True)
    monkeypatch.setattr(sys, "stderr", stream)
    written: list[str] = []
    monkeypatch.setattr(click, "echo", lambda line, **_: written.append(line))
    log = logging.getLogger("streamcam.somewhere")
    with reporting(as_json=True):
        file.dropped += 3
        log.warning("the camera is lost")
        log.warning("the camera is back")
    assert [json.loads(line)["message"] for line in written] == [
        "3 lines of the log were lost, as nobody read them",
        "the camera is lost",
        "the camera is back",
    ]
    os.close(file.fileno())


def test_names_in_the_log_do_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(as_json=False):
        logging.getLogger("streamcam").warning("camera \x1b[2J\u202egnp.exe:\ngone")
    assert capsys.readouterr().err == "camera \\u001b[2J\\u202egnp.exe:\ngone\n"


def test_json_is_the_same_in_every_encoding(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(as_json=True):
        logging.getLogger("streamcam").warning("camera \x9b2J\u202e猫")
    printed = capsys.readouterr().err
    assert printed.isascii()
    assert json.loads(printed)["message"] == "camera \x9b2J\u202e猫"
