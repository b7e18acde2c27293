"""``streamcam render``."""

import re
import time
from collections.abc import Generator
from contextlib import closing
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streamcam.cli.options import configured, settings
from streamcam.cli.stopping import stopping
from streamcam.control.cues import Cues, read_cues
from streamcam.errors import ConfigError, MediaError
from streamcam.pipelines import LoadedStream, load_stream, release_ranks, run_as_rank
from streamcam.runtime import offline
from streamcam.runtime.auto_settings import settle_model
from streamcam.settings.config import Config
from streamcam.sinks.sink_table import open_file_sink
from streamcam.sources.source_table import open_file_source
from streamcam.types import Sink, Source

PATTERN = "pattern"


@click.command(options_metavar="[OPTIONS]")
@click.argument("paths", nargs=-1, metavar="[INPUT] OUTPUT")
@click.option("--frames", type=click.IntRange(min=1), help="Stop after so many frames.")
@click.option("--fps", help="Frames per second of what has no rate of its own. [30]")
@click.option(
    "--cues", metavar="FILE", help='Live changes by frame, as JSON Lines: {"frame": 40, "seed": 7}.'
)
@settings()
def render(
    paths: tuple[str, ...],
    frames: int | None,
    fps: str | None,
    cues: str | None,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Turn a video, a folder of images, an image or a .npy array into the same kinds of output.

    INPUT may be "pattern", a moving test picture; without INPUT the pictures are made from
    text alone. Both need --frames. The kind of OUTPUT is told by its suffix; a name without
    one makes a folder of PNGs.
    """
    if not 1 <= len(paths) <= 2:
        raise click.UsageError("render takes INPUT and OUTPUT, or OUTPUT and --frames")
    fixed = {"mode": "txt2img"} if len(paths) == 1 else {}
    console = Console(stderr=True)
    asked = configured(presets, assignments, flags, **fixed)
    config, why = settle_model(asked)
    if run_as_rank(config):
        return
    given = paths[0] if len(paths) == 2 else None
    source = _source(given, config, frames, _rate(fps))
    length = min((n for n in (source.length, frames) if n), default=None)
    sink = _sink(given, Path(paths[-1]), source.rate, length)
    changes = _cues(cues, config)
    if config is not asked:
        _report(console, f"model: {why}")
    stream = _stream(config, console)
    began = time.perf_counter()
    pictures = offline.render(
        source, stream, sink, config=config, parameters_at=changes, frames=frames
    )
    written = _watch(pictures, length, console)
    release_ranks()
    seconds = time.perf_counter() - began
    skipped = f", {stream.counts['skipped']} skipped" if stream.counts["skipped"] else ""
    _report(console, f"{paths[-1]}: {written} frames{skipped}, {written / seconds:.1f} fps")


def _stream(config: Config, console: Console) -> LoadedStream:
    with console.status("loading the model"):
        stream = load_stream(config, partial(_report, console))
        stream.warm_up()
        return stream


def _report(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _watch(pictures: Generator[int], length: int | None, console: Console) -> int:
    """Show how far it has come; a signal stops it between two frames."""
    written = 0
    columns = (
        TextColumn("rendering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    with bar as progress, stopping() as asked, closing(pictures):
        task = progress.add_task("render", total=length, fps=0.0)
        for written in pictures:
            progress.update(task, completed=written, fps=progress.tasks[0].speed or 0.0)
            if asked.is_set():
                raise KeyboardInterrupt
        progress.update(task, total=written)
    return written


def _source(given: str | None, config: Config, frames: int | None, rate: Fraction) -> Source:
    if given not in (None, PATTERN):
        return open_file_source(Path(str(given)), rate)
    if frames is None:
        what = "text to image" if given is None else "the test picture"
        raise ConfigError(f"{what} has no end of its own: say how many with --frames")
    from streamcam.sources.generated import Blank, Pattern

    kind = Blank if given is None else Pattern
    return kind(config.width, config.height, rate, frames)


def _rate(fps: str | None) -> Fraction:
    if fps is None:
        return Fraction(30)
    # The pattern keeps out exponents, over which a Fraction takes forever.
    plain = re.fullmatch(r"\d{1,9}(\.\d{1,9}|/[1-9]\d{0,8})?", fps, re.ASCII)
    rate = Fraction(fps).limit_denominator(100_000) if plain else Fraction(0)
    if not 0 < rate <= 1000:
        raise ConfigError(f"--fps takes a rate such as 25 or 30000/1001, got {fps}")
    return rate


def _sink(given: str | None, output: Path, rate: Fraction, length: int | None) -> Sink:
    sink = open_file_sink(output, rate, length=length)
    if given not in (None, PATTERN):
        source = Path(str(given)).resolve()
        for path in (sink.path, sink.temporary_path):
            if path.exists() and (path.samefile(source) or source.is_relative_to(path.resolve())):
                raise MediaError(f"{output} would be written over {given}; choose another name")
    return sink


def _cues(given: str | None, config: Config) -> Cues:
    return read_cues(Path(given), config) if given else Cues({})
