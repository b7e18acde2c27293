"""The preview page in the browser: only on a desktop, and never in the way."""

import os
import sys
from pathlib import Path

import pytest

from streamcam.cli.browser import is_on_desktop, open_page
from tests.runtime.broadcast_helpers import until

DESKTOP = {"DISPLAY": ":0"}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", DESKTOP, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"DISPLAY": ""}, False),
        ("linux", {}, False),
        ("linux", DESKTOP | {"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.2 22"}, False),
        ("darwin", {}, True),
        ("darwin", {"SSH_TTY": "/dev/ttys001"}, False),
        ("win32", {}, True),
    ],
)
def test_a_desktop_has_a_screen_and_somebody_in_front_of_it(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], expected: bool
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert is_on_desktop(environment) is expected


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_pipe_or_a_service_is_no_desktop(monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: False, raising=False)
    assert not is_on_desktop(DESKTOP)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_browser_prints_nothing_here_and_outlives_this_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho noise; echo noise >&2\n(echo "$1"; env; ps -o sid= -p $$) > {seen}.new\n'
        f"mv {seen}.new {seen}\n"
    )
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    monkeypatch.setenv("TERM", "xterm")
    open_page("http://127.0.0.1:8090/?a=b&c")
    until(seen.exists)
    url, *rest = seen.read_text().splitlines()
    assert url == "http://127.0.0.1:8090/?a=b&c"
    assert not any(line.startswith(("STREAMCAM_GUARD=", "TERM=xterm")) for line in rest)
    assert int(rest[-1]) != os.getsid(0)
    assert capfd.readouterr() == ("", "")


def test_a_browser_that_cannot_be_started_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with caplog.at_level("INFO", "streamcam"):
        open_page("http://127.0.0.1:8090/")
    assert "cannot open the browser" in caplog.text
