"""The images on the control page and on the page for OBS, in a real browser."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

import numpy as np
import pytest

from streamcam.sources.generated import Pattern
from streamcam.types import Frame, Image
from tests.clients.browser import Browser, installed
from tests.control.web.running_page import running_page
from tests.support.media import read

pytestmark = pytest.mark.skipif(installed() is None, reason="needs Chromium")

BARS = [(235, 235, 235), (235, 235, 16), (16, 235, 235), (16, 235, 16)]
BARS += [(235, 16, 235), (235, 16, 16), (16, 16, 235)]
WIDTH, HEIGHT = 960, 640
CAPTION = 2
"""Bars of the input, which is upside down, that the caption covers."""


class Show(NamedTuple):
    """A broadcast of the test pattern, whose input is upside down, and a browser to view it."""

    url: str
    browser: Browser


@pytest.fixture(scope="module")
def show() -> Iterator[Show]:
    pattern, over = Pattern(640, 360, Fraction(25), None), Event()

    def send() -> None:
        index = 0
        while not over.wait(0.04):
            image = pattern.image_at(index)
            server.view.newest_input = Frame(np.ascontiguousarray(image[::-1]), index, 0.0)
            server.preview.send(Frame(image, index, 0.0))
            index += 1

    with running_page() as server, Browser(WIDTH, HEIGHT) as browser:
        thread = Thread(target=send)
        thread.start()
        yield Show(server.preview.url, browser)
        over.set()
        thread.join()


@pytest.fixture
def page(show: Show) -> Browser:
    """The browser at the page, once it shows its first frame."""
    show.browser.open(show.url)
    show.browser.wait_until(shown("after"))
    return show.browser


def shown(which: str) -> str:
    return f"document.querySelector('#{which} img')?.naturalWidth === 640"


def bars(screen: Image, browser: Browser, which: str, *, height: float) -> list[tuple[int, ...]]:
    """Return the seven colours across an image on the screen, at a fraction of its height."""
    script = f"""(() => {{
        const box = document.querySelector("#{which} img").getBoundingClientRect();
        const scale = Math.min(box.width / 640, box.height / 360);
        const width = 640 * scale, height = 360 * scale;
        return [box.x + (box.width - width) / 2, box.y + (box.height - height) / 2, width, height];
    }})()"""
    left, top, wide, high = browser.evaluate(script)
    y = round(top + high * height)
    return [tuple(map(int, screen[y, round(left + wide * (i + 0.5) / 7)])) for i in range(7)]


def screen(browser: Browser, tmp_path: Path) -> Image:
    return read(browser.screenshot(tmp_path / "screen.png"))[0].image


def assert_bars(found: list[tuple[int, ...]], *, leave_out: int = 0) -> None:
    assert np.abs(np.array(found) - BARS)[leave_out:].max() < 25, found


def test_the_screen_shows_the_output(page: Browser, tmp_path: Path) -> None:
    assert_bars(bars(screen(page, tmp_path), page, "after", height=0.93))


def test_b_shows_the_input_and_then_the_output_again(page: Browser, tmp_path: Path) -> None:
    page.press("b")
    page.wait_until(shown("before"))
    assert page.evaluate("document.querySelector('#after') === null")
    assert_bars(bars(screen(page, tmp_path), page, "before", height=0.07), leave_out=CAPTION)
    page.press("b")
    page.wait_until(shown("after"))
    assert_bars(bars(screen(page, tmp_path), page, "after", height=0.93))


def test_s_shows_both_side_by_side(page: Browser, tmp_path: Path) -> None:
    page.press("s")
    page.wait_until(f"{shown('before')} && {shown('after')}")
    image = screen(page, tmp_path)
    assert_bars(bars(image, page, "before", height=0.07), leave_out=CAPTION)
    assert_bars(bars(image, page, "after", height=0.93))


def test_the_page_for_obs_is_the_output_alone(page: Browser, tmp_path: Path) -> None:
    page.evaluate("location.pathname = '/obs'")
    page.wait_until("document.querySelector('#output')?.naturalWidth === 640")
    assert page.evaluate("document.body.innerText.trim()") == ""
    image = screen(page, tmp_path)
    height = WIDTH * 9 / 16
    y = round((HEIGHT - height) / 2 + height * 0.93)
    assert_bars([tuple(map(int, image[y, round(WIDTH * (i + 0.5) / 7)])) for i in range(7)])
