"""Lines of a build on the terminal: progress in place, all else above it."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.console import Console

from streamcam.engines.build_progress import ProgressLine, ThrottledProgress
from streamcam.errors import printable


@contextmanager
def build_report() -> Iterator[Callable[[str], None]]:
    """Yield a function that prints a line; on a terminal, progress takes the place of progress.

    Elsewhere progress is printed only where nothing else was for long.
    """
    if not sys.stdout.isatty():
        yield ThrottledProgress(click.echo)
        return
    console = Console(highlight=False)
    with console.status("loading") as line:

        def report(text: str) -> None:
            if isinstance(text, ProgressLine):
                line.update(printable(text))
            else:
                console.print(printable(text), markup=False, soft_wrap=True)

        yield report
