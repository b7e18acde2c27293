"""Take screenshots of the preview page for docs/images/, with a headless Chromium.

``python -m docs.screenshots [URL]`` shows the broadcast at URL, or else the test pattern and an
outline of it, which need no model.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from threading import Event, Thread

import cv2
import numpy as np

from streamcam.settings.parameters import Parameters
from streamcam.sinks.preview import Preview
from streamcam.sources.generated import Pattern
from streamcam.stats import Status
from streamcam.types import Frame, Image
from tests.clients.browser import Browser

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
PAGES = {"preview.png": ("", 1280, 828), "preview-both.png": ("?view=both", 1440, 521)}
FPS = 25
SETTLE_S = 4


class OutlineBroadcast:
    """Broadcast without a model: the input is the test pattern, the output its outline."""

    def __init__(self) -> None:
        self._pattern = Pattern(1280, 720, Fraction(FPS), None)
        self._started = time.monotonic()
        self._frame: Frame | None = None

    def next(self, index: int) -> Frame:
        """Generate input frame `index`; return its output frame."""
        now = time.monotonic()
        self._frame = Frame(self._pattern.image_at(index), index, now)
        return Frame(outlined(self._frame.image), index, now)

    def input_frame(self) -> Frame | None:
        return self._frame

    def status(self) -> Status:
        return replace(STATUS, uptime=time.monotonic() - self._started)

    def parameters(self) -> Parameters:
        return Parameters()

    def applied_parameters(self) -> tuple[int, Parameters]:
        return 0, Parameters()


STATUS = Status(
    state="running",
    source="live",
    fps_in=FPS,
    fps_model=FPS,
    fps_out=FPS,
    latency_p50=0.041,
    latency_p95=0.048,
    dropped=0,
    skipped=0,
    restarts=0,
    uptime=0.0,
    model="outline, without a model",
    sinks=(f"preview: {FPS}.0 fps",),
)


def outlined(image: Image) -> Image:
    """Return the edges of `image` as light lines on a dark background."""
    soft = cv2.GaussianBlur(image, (0, 0), 2)
    edges = cv2.dilate(cv2.Canny(soft, 20, 60), np.ones((3, 3), np.uint8))
    glow = cv2.GaussianBlur(edges, (0, 0), 9).astype(np.float32) * 2 + edges
    light = glow[..., None] / 255 * (image.astype(np.float32) * 0.7 + np.array([40, 30, 90]))
    return np.asarray((light + np.array([14, 10, 28])).clip(0, 255), np.uint8)


@contextmanager
def running() -> Iterator[str]:
    """Run an outline broadcast; yield the URL of its preview."""
    broadcast, stop = OutlineBroadcast(), Event()
    with Preview("127.0.0.1", 0, broadcast) as preview:

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


def main(url: str | None = None) -> None:
    """Write all screenshots."""
    with running() if url is None else nullcontext(url) as page:
        for name, (query, width, height) in PAGES.items():
            with Browser(width, height) as browser:
                browser.open(page + query)
                time.sleep(SETTLE_S)
                print(browser.screenshot(IMAGES / name).relative_to(ROOT))


if __name__ == "__main__":
    main(*sys.argv[1:2])
