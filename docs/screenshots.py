"""Take screenshots of the control page for docs/images/, with a headless Chromium.

``python -m docs.screenshots [URL]`` shows the broadcast at URL, or else the test pattern and an
outline of it, which need no model.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event, Thread
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from streamcam.control.control_room import ControlRoom
from streamcam.control.messages import Message
from streamcam.control.state import Control
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.sinks.preview import Preview
from streamcam.sources.generated import Pattern
from streamcam.stats import Latencies, LatencyHistory, SinkState, Status
from streamcam.system.web_tokens import WebTokens
from streamcam.types import Frame
from streamcam.types import Image as Pixels
from tests.clients.browser import Browser

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
FPS = 25
SETTLE_S = 4
HISTORY_S = 40


class Page(NamedTuple):
    """One screenshot: its file, the screen, and the script that is run before."""

    name: str
    width: int
    height: int
    query: str = ""
    script: str = ""
    phone: bool = False


PAGES = (
    Page("control.png", 1400, 1120),
    Page("control-wipe.png", 1400, 470, "?view=wipe"),
    Page(
        "control-panic.png", 1400, 640, script="document.querySelector('[data-name=panic]').click()"
    ),
    Page("control-phone.png", 360, 780, phone=True),
    Page(
        "control-phone-show.png",
        360,
        780,
        script="document.querySelectorAll('.tabs button')[2].click()",
        phone=True,
    ),
)
LOOK = (
    ("prompt_list", '[["an ink drawing, fine lines", 0.65], ["neon signs in the rain", 0.35]]'),
    ("negative_prompt", "blurry, washed out"),
    ("tempo/bpm", 124.0),
    ("tempo/quantise", "bar"),
    ("mod/guidance_scale/shape", "sine"),
    ("mod/guidance_scale/depth", 0.05),
)


class OutlineBroadcast:
    """Broadcast without a model: the input is the test pattern, the output its outline."""

    def __init__(self) -> None:
        self._pattern = Pattern(640, 360, Fraction(FPS), None)
        self._started = time.monotonic()
        self._frame: Frame | None = None
        self._latencies, self._history = Latencies(), LatencyHistory()
        config = build_config([{"osc": False, "mdns": False}])
        self._control = Control(config)
        self.room = ControlRoom(config, self._control, self.status, self._history)

    def next(self, index: int) -> Frame:
        """Generate input frame `index`; return its output frame."""
        now = time.monotonic()
        self._frame = Frame(self._pattern.image_at(index), index, now)
        output = outlined(self._frame.image)
        self._latencies.add(time.monotonic() - now)
        return Frame(output, index, now)

    def input_frame(self) -> Frame | None:
        return self._frame

    def control_image(self) -> Pixels | None:
        return None

    def status(self) -> Status:
        now = time.monotonic()
        p50, p95 = (self._latencies.percentile(percent) for percent in (50, 95))
        self._history.add(now, p50, p95)
        target = self._control.target
        overrides = [name for name in ("panic", "blackout") if getattr(target, name)]
        return replace(
            STATUS,
            uptime=now - self._started,
            latency_p50=p50,
            latency_p95=p95,
            microphone_delay_ms=None if p50 is None else round(p50 * 1000),
            overrides=tuple(overrides),
        )

    def parameters(self) -> Parameters:
        return self._control.parameters

    def applied_parameters(self) -> tuple[int, Parameters]:
        return 0, self._control.parameters

    def web_tokens(self) -> WebTokens:
        return WebTokens()

    def web_routes(self) -> Sequence[Any]:
        return self.room.web_routes()


STATUS = Status(
    state="running",
    source="live",
    fps_in=FPS,
    fps_model=FPS,
    fps_out=FPS,
    latency_p50=None,
    latency_p95=None,
    dropped=0,
    skipped=0,
    restarts=0,
    uptime=0.0,
    model="outline, without a model",
    sinks=(f"preview: {FPS}.0 fps",),
    sink_states=(SinkState("preview", None, float(FPS), 0),),
)


def outlined(image: Pixels) -> Pixels:
    """Return the edges of `image` as light lines on a dark background."""
    soft = cv2.GaussianBlur(image, (0, 0), 2)
    edges = cv2.dilate(cv2.Canny(soft, 20, 60), np.ones((3, 3), np.uint8))
    glow = cv2.GaussianBlur(edges, (0, 0), 9).astype(np.float32) * 2 + edges
    light = glow[..., None] / 255 * (image.astype(np.float32) * 0.7 + np.array([40, 30, 90]))
    return np.asarray((light + np.array([14, 10, 28])).clip(0, 255), np.uint8)


@contextmanager
def running() -> Iterator[str]:
    """Run an outline broadcast; yield the URL of its page."""
    broadcast, stop = OutlineBroadcast(), Event()
    with broadcast.room as room, Preview("127.0.0.1", 0, broadcast) as preview:
        prefix = room.surface.prefix
        room.surface.apply([Message(f"{prefix}/{name}", (value,)) for name, value in LOOK], "docs")

        def send() -> None:
            index = 0
            while not stop.wait(1 / FPS):
                preview.send(broadcast.next(index))
                index += 1

        thread = Thread(target=send)
        thread.start()
        try:
            yield preview.url
        finally:
            stop.set()
            thread.join()


def take(page: Page, url: str) -> Path:
    """Write one screenshot; return its path."""
    with Browser(
        page.width, page.height, scale=2 if page.phone else 1, phone=page.phone
    ) as browser:
        browser.open(url + page.query)
        browser.wait_until("document.querySelector('#after img')?.naturalWidth > 0")
        if page.script:
            browser.evaluate(page.script)
        time.sleep(SETTLE_S)
        path = browser.screenshot(IMAGES / page.name)
        # Let the next screenshot find what this one found.
        if "panic" in page.script:
            browser.evaluate(page.script)
            time.sleep(1)
    Image.open(path).convert("RGB").save(path, optimize=True)
    return path


def main(url: str | None = None) -> None:
    """Write all screenshots."""
    with running() if url is None else nullcontext(url) as page:
        with Browser() as browser:
            # The graph grows for as long as somebody looks.
            browser.open(page)
            time.sleep(HISTORY_S)
        for each in PAGES:
            print(take(each, page).relative_to(ROOT))


if __name__ == "__main__":
    main(*sys.argv[1:2])
