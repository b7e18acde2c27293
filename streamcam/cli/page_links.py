"""Links to the page for other machines, on the terminal only: their tokens belong in no log."""

import io
import logging

import segno
from rich.console import Console
from rich.text import Text

from streamcam.system.web_tokens import WebLinks

log = logging.getLogger("streamcam")

LIGHT_ON_DARK = "bright_white on black"
"""Whatever the colours of the terminal are: few readers take a code with both swapped."""
BORDER = 2
"""Light modules around the QR code."""


def show_links(links: WebLinks, terminal: Console | None) -> None:
    """Print both links, and the operator's as a QR code where `terminal` has room for it.

    Without a terminal, a line of the log says how to have a token that is known beforehand.
    """
    if terminal is None:
        log.info(
            "the page asks for a token, which is shown on a terminal only; set your own with"
            " STREAMCAM_WEB_TOKEN or web_token, and open the page with ?token= and that"
        )
        return
    lines = [
        "the control page, for a phone or another machine too:",
        f"  {links.operator}",
        "for viewing only:",
        f"  {links.viewer}",
    ]
    for line in lines:
        terminal.print(line, highlight=False, markup=False, soft_wrap=True)
    if code := qr_code(links.operator, terminal.width, terminal.encoding):
        terminal.print(Text(code, style=LIGHT_ON_DARK, no_wrap=True))


def qr_code(url: str, width: int, encoding: str) -> str:
    """Return `url` as a QR code for a terminal, empty where `width` or `encoding` do not allow it.

    Two modules stand one above the other in each character.
    """
    code = segno.make_qr(url, error="l")
    if code.symbol_size(border=BORDER)[0] > width or "utf" not in encoding.lower():
        return ""
    out = io.StringIO()
    code.terminal(out, border=BORDER, compact=True)
    return out.getvalue().rstrip("\n")
