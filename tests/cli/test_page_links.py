"""Links to the page, which stand on a terminal and in no log."""

import io
import logging

import cv2
import numpy as np
import pytest
from rich.console import Console

from streamcam.cli.page_links import qr_code, show_links
from streamcam.system.web_tokens import WebTokens

LINKS = WebTokens("s3cret-t0ken").links("http://192.168.1.7:8090/")
HALVES = {"█": (255, 255), "▀": (255, 0), "▄": (0, 255), " ": (0, 0)}
"""Upper and lower module of a character."""


def shown(width: int) -> str:
    screen = io.StringIO()
    show_links(LINKS, Console(file=screen, width=width, force_terminal=True))
    return screen.getvalue()


def test_the_code_on_the_terminal_is_the_operators_link() -> None:
    lines = qr_code(LINKS.operator, 80, "utf-8").splitlines()
    modules = np.array(
        [[HALVES[letter][half] for letter in line] for line in lines for half in (0, 1)], np.uint8
    )
    text, *_ = cv2.QRCodeDetector().detectAndDecode(np.kron(modules, np.ones((8, 8), np.uint8)))
    assert text == LINKS.operator


def test_a_terminal_shows_both_links_whole_and_the_code_where_it_has_room() -> None:
    assert all(link in shown(200) for link in LINKS)
    assert "▀" in shown(200)
    assert all(link in shown(30) for link in LINKS)
    assert "▀" not in shown(30)


def test_a_terminal_without_unicode_gets_no_code() -> None:
    assert qr_code(LINKS.operator, 80, "iso-8859-1") == ""


def test_a_log_holds_no_token_but_how_to_have_one(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "streamcam"):
        show_links(LINKS, None)
    assert "STREAMCAM_WEB_TOKEN" in caplog.text
    assert "s3cret" not in caplog.text
