"""Chromium and OBS Studio reading the virtual camera.

Needs v4l2loopback. STREAMCAM_PICTURES is a folder for the screenshots; without it the tests are
skipped, since OBS is not part of an ordinary test machine. STREAMCAM_PUBLISHER is the command that
broadcasts the test pattern; ``python -m tests.clients.publish`` does so without streamcam's sinks.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from tests.clients import obs
from tests.clients.browser import Browser, installed
from tests.support.media import read

PICTURES = os.environ.get("STREAMCAM_PICTURES")
PUBLISHER = os.environ.get(
    "STREAMCAM_PUBLISHER",
    f"{sys.executable} -m streamcam run --source pattern --sink virtual-camera --model passthrough"
    " --fps 15",
)
BARS = [(235, 235, 235), (235, 235, 16), (16, 235, 235), (16, 235, 16)]
BARS += [(235, 16, 235), (235, 16, 16), (16, 16, 235)]
PAGE = Path(__file__).with_name("camera.html")

pytestmark = [
    pytest.mark.skipif(PICTURES is None, reason="STREAMCAM_PICTURES names no folder"),
    pytest.mark.timeout(600),
]


def loopback() -> Path | None:
    """Return the sysfs folder of the loopback device named streamcam."""
    for name in sorted(Path("/sys/class/video4linux").glob("video*/name")):
        if name.read_text().strip() == "streamcam":
            return name.parent
    return None


@pytest.fixture(scope="module")
def device() -> Iterator[str]:
    """Path of the virtual camera, with the test pattern on it."""
    found = loopback()
    if found is None:
        pytest.skip("no v4l2loopback device named streamcam")
    with subprocess.Popen(shlex.split(PUBLISHER)) as publisher:
        try:
            until = time.monotonic() + 120
            while not (found / "format").read_text().strip():
                assert publisher.poll() is None, f"{PUBLISHER} has ended"
                assert time.monotonic() < until, f"{PUBLISHER} publishes nothing"
                time.sleep(0.2)
            yield f"/dev/{found.name}"
        finally:
            publisher.terminate()
            publisher.wait(30)


@contextmanager
def served(page: Path) -> Iterator[str]:
    """Serve one page: browsers give cameras only to pages of this machine or over TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(page.read_bytes())

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def assert_shows_the_bars(screenshot: Path) -> None:
    """Check that each of the seven colours fills some part of the screen."""
    image = read(screenshot)[0].image.astype(int)
    # Wide enough for OBS, which takes every YUV camera for BT.709.
    for bar in BARS:
        near = (np.abs(image - bar) < 48).all(axis=-1)
        assert near.sum() > 500, f"{bar} is nowhere in {screenshot}"


@pytest.mark.skipif(installed() is None, reason="needs Chromium")
def test_chromium_shows_the_camera(device: str) -> None:
    with served(PAGE) as url, Browser(1280, 760) as browser:
        browser.open(url)
        browser.wait_until("window.seen > 20 || window.failed", timeout_s=180)
        assert browser.evaluate("window.failed ?? ''") == ""
        assert "streamcam" in browser.evaluate("track.label")
        print(browser.evaluate("document.querySelector('p').innerText"))
        assert_shows_the_bars(browser.screenshot(Path(str(PICTURES)) / "chromium.png"))


@pytest.mark.skipif(
    not all(map(shutil.which, obs.PROGRAMS)), reason=f"needs {', '.join(obs.PROGRAMS)}"
)
def test_obs_shows_the_camera(device: str, tmp_path: Path) -> None:
    screenshot = Path(str(PICTURES)) / "obs.png"
    screenshot.unlink(missing_ok=True)
    obs.screenshot(device, screenshot, home=tmp_path)
    assert_shows_the_bars(screenshot)
