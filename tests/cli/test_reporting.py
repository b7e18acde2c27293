"""Status line and log of a broadcast."""

import json
import logging
from dataclasses import replace

import pytest

from streamcam.cli.reporting import reporting, summary
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
        vram=3 * 2**30,
        power=81.2,
    )
    line = summary(status)
    assert line == (
        "running · in 30 · model 24.6 · out 30 fps · latency 41/57 ms · dropped 7 · 3.0 GiB · 81 W"
    )


def test_the_status_line_shows_a_lost_engine_and_source() -> None:
    line = summary(replace(STATUS, state="lost", source="lost", latency_p50=None, restarts=2))
    assert "lost" in line
    assert "restarts 2" in line
    assert "source lost" in line
    assert "latency" not in line


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


def test_names_in_the_log_do_not_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(as_json=False):
        logging.getLogger("streamcam").warning("camera \x1b[2J\u202egnp.exe:\ngone")
    assert capsys.readouterr().err == "camera \\u001b[2J\\u202egnp.exe:\ngone\n"
