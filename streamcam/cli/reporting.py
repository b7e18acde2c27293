"""Log and status line of a broadcast, as text for people or JSON for services."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.status import Status as StatusLine
from rich.text import Text

from streamcam.cli.output_pump import nonblocking_output
from streamcam.errors import printable
from streamcam.limits import LogRateFilter
from streamcam.redaction import redacted
from streamcam.stats import Status
from streamcam.system.standard_streams import dropped_messages

STATUS_INTERVAL_S = 10.0
MAX_PROMPT_SHOWN = 40
"""Characters of the prompt in the status line."""
STATES = {
    "running": "on air",
    "loading": "loading the model",
    "lost": "restarting the model",
    "passthrough": "on air without a model",
}
"""States of the engine in words for the status line."""
FORMATTER = logging.Formatter()


class _LogHandler(logging.Handler):
    """Prints records; whoever logs never gets an error of it, nor waits.

    Args:
        show: prints a record.
    """

    def __init__(self, show: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._show = show
        self._stream = sys.stderr
        self._reported = dropped_messages(self._stream)

    def handle(self, record: logging.LogRecord) -> bool:
        """Print `record` unless a filter drops it; return whether it was printed."""
        # A logger hands on what its handlers raise, into the threads that keep a show on air.
        with suppress(Exception):
            return bool(super().handle(record))
        return False

    def emit(self, record: logging.LogRecord) -> None:
        if lost := dropped_messages(self._stream) - self._reported:
            self._reported += lost
            text = f"{lost} lines of the log were lost, as nobody read them"
            self._show(logging.LogRecord(__name__, logging.WARNING, "", 0, text, None, None))
        self._show(record)


def _show_text(record: logging.LogRecord, console: Console) -> None:
    """Print a log record above the status line."""
    style = "yellow" if record.levelno >= logging.WARNING else None
    # Names of files, cameras and models may hold any character.
    text = printable(redacted(FORMATTER.format(record)), keep="\n\t")
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _show_json(record: logging.LogRecord) -> None:
    """Print a log record as one line of JSON, in ASCII: names and texts may hold any character."""
    line = {
        "time": round(record.created, 3),
        "level": record.levelname.lower(),
        "message": redacted(record.getMessage()),
    }
    if record.exc_info:
        line["trace"] = redacted(FORMATTER.formatException(record.exc_info))
    line |= getattr(record, "status", {})
    click.echo(json.dumps(line), err=True)


class Reporter:
    """Shows the status: as a live line on a terminal, or periodically in a JSON log."""

    def __init__(
        self, line: StatusLine | None, console: Console | None = None, *, as_json: bool
    ) -> None:
        self._line = line
        self._console = console
        self._as_json = as_json
        self._next = time.monotonic() + STATUS_INTERVAL_S

    @property
    def terminal(self) -> Console | None:
        """The terminal that somebody reads; None where the log goes to a file or a service."""
        return self._console

    def show(self, status: Status) -> None:
        """Update the line on the terminal, or log `status` if it is time to."""
        if self._line:
            # As text: a prompt may hold what would be markup.
            self._line.update(Text(printable(summary(status))))
        elif self._as_json and time.monotonic() >= self._next:
            self._next += STATUS_INTERVAL_S
            extra = {"status": {"status": asdict(status)}}
            logging.getLogger("streamcam").info("status", extra=extra)


@contextmanager
def reporting(*, as_json: bool) -> Iterator[Reporter]:
    """Send the log to stderr as text or JSON, at a limited rate, and yield a `Reporter`.

    Until the end, nothing that this process and its children print makes them wait for a reader.
    """
    is_terminal = Console(stderr=True).is_terminal
    with nonblocking_output():
        console = Console(stderr=True, force_terminal=is_terminal)
        handler = _LogHandler(_show_json if as_json else partial(_show_text, console=console))
        handler.addFilter(LogRateFilter())
        # At the root, so that what libraries log, asyncio for one, is limited and in JSON as well.
        root = logging.getLogger()
        root.addHandler(handler)
        logging.getLogger("streamcam").setLevel(logging.INFO)
        try:
            if is_terminal and not as_json:
                with console.status("starting") as line:
                    yield Reporter(line, console, as_json=False)
            else:
                yield Reporter(None, as_json=as_json)
        finally:
            root.removeHandler(handler)


def summary(status: Status) -> str:
    """Return `status` as one line."""
    parts = [name.upper() for name in status.overrides]
    if status.source != "live":
        parts.append(f"source {status.source}")
    if status.source == "live" or status.state not in ("running", "passthrough"):
        parts.append(STATES.get(status.state, status.state))
    if status.prompt:
        parts.append(f'"{_cut(status.prompt)}"')
    if status.notice:
        parts.append(status.notice)
    if status.preset:
        parts.append(f"preset {status.preset}")
    if status.recording:
        parts.append(f"recording {Path(status.recording).name}")
    if status.obs:
        parts.append(f"OBS {status.obs}")
    camera, model, output = status.fps_in, status.fps_model, status.fps_out
    size = f" at {status.size}" if status.size else ""
    parts.append(f"fps: camera {camera:.0f}, model {model:.1f}{size}, output {output:.0f}")
    if status.latency_p50 is not None and status.latency_p95 is not None:
        p50, p95 = status.latency_p50 * 1e3, status.latency_p95 * 1e3
        parts.append(f"delay {p50:.0f} ms (95% within {p95:.0f})")
    counts = {
        "skipped to keep up": status.dropped,
        "skipped as similar": status.skipped,
        "restart" if status.restarts == 1 else "restarts": status.restarts,
    }
    parts += [f"{count} {what}" for what, count in counts.items() if count]
    if status.schedule:
        parts.append(status.schedule)
    if status.vram is not None:
        parts.append(f"{status.vram / 2**30:.1f} GiB of GPU memory")
    if status.power is not None:
        parts.append(f"{status.power:.0f} W")
    return " · ".join(parts)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_PROMPT_SHOWN else f"{text[: MAX_PROMPT_SHOWN - 1]}…"
