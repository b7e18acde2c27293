"""The lines that a newcomer reads once the broadcast is on air."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamcam.cli.next_steps import next_steps, program
from streamcam.settings.config_layers import build_config
from tests.support.scenes import STATUS

SINKS = ["virtual-camera:studio", "preview", "recorder:show.mkv"]
PAGE = "http://127.0.0.1:8091/"


@pytest.fixture(autouse=True)
def _called_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "streamcam"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(script), "run"])


def lines(port: int | None = 9000, page: str | None = PAGE, **settings: Any) -> list[str]:
    given = {"model": "nano", "source": "camera", "sink": SINKS, **settings}
    config = build_config([given])
    text = config.live.prompt[0][0]
    status = replace(STATUS, state="loading", page=page, prompt=text)
    return list(next_steps(0.417, config, status, config.broadcast.sink, port))


def test_three_lines_name_what_is_on_air_where_and_what_to_type() -> None:
    assert lines() == [
        'on air after 0.42 s: the camera through nano as "pencil sketch", once that is loaded',
        f'see it: {PAGE}, or choose the camera "studio" in OBS, Zoom or a browser',
        'change it: type streamcam prompt "oil painting" in another terminal;'
        ' "streamcam presets" lists looks; Ctrl-C here ends it',
    ]


def test_the_prompt_to_try_is_another_than_the_present_one() -> None:
    assert 'prompt "blue neon edges on black"' in lines(prompt="oil painting")[2]


def test_the_command_reaches_this_broadcast() -> None:
    changed = lines(9042, osc_port=0, osc_prefix="/vj", osc_bind="192.0.2.7")[2]
    assert 'prompt --host 192.0.2.7 --port 9042 --prefix /vj "oil painting"' in changed


def test_no_line_names_what_is_not_there() -> None:
    assert len(lines(None, None, sink=["null"])) == 1
    [shown] = lines(page=None, sink=["null"], model="passthrough", source="rtsp://me:s3cret@cam/x")
    assert shown == "on air after 0.42 s: rtsp://cam/x, unchanged"


def test_a_program_that_the_shell_does_not_find_is_called_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert program() == "streamcam"
    monkeypatch.setattr(sys, "argv", [".venv/bin/streamcam"])
    assert program() == ".venv/bin/streamcam"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "streamcam" / "__main__.py")])
    assert program() == "python -m streamcam"


def test_an_address_that_asks_for_a_token_is_left_to_the_links_with_it() -> None:
    config = build_config([{"model": "nano", "source": "camera", "sink": ["preview"]}])
    status = replace(STATUS, page=PAGE)
    shown = list(next_steps(0.4, config, status, ["preview"], 9000, asks_for_token=True))
    assert not any(PAGE in line for line in shown)
