"""``streamcam render``: run a file through the stream, frame by frame, without a clock."""

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
from streamcam.cli.stop_signals import stopping
from streamcam.control.cues import Cues, read_cues
from streamcam.errors import ConfigError, MediaError
from streamcam.pipelines import LoadedStream, load_stream, release_ranks, run_as_rank
from streamcam.runtime import offline_render
from streamcam.runtime.auto_settings import settle_model
from streamcam.settings.config import Config
from streamcam.sinks.atomic_file import temporary_path
from streamcam.sinks.sink_table import open_file_sink
from streamcam.sources.source_table import open_file_source
from streamcam.types import Source

PATTERN = "pattern"
FILE = click.Path(readable=False)
"""A path that shell completion knows as one; the sources and sinks check it."""


@click.command(options_metavar="[OPTIONS]")
@click.argument("paths", nargs=-1, metavar="[INPUT] OUTPUT", type=FILE)
@click.option("--frames", type=click.IntRange(min=1), metavar="N", help="Stop after N frames.")
@click.option(
    "--fps",
    metavar="NUMBER",
    help="Frames per second, for an input without a rate of its own. [30]",
)
@click.option(
    "--cues",
    type=FILE,
    metavar="FILE",
    help='Live changes by frame, as JSON Lines: {"frame": 40, "seed": 7}.',
)
@click.option("--overwrite", is_flag=True, help="Replace OUTPUT if it is an existing file.")
@settings()
def render(
    paths: tuple[str, ...],
    frames: int | None,
    fps: str | None,
    cues: str | None,
    overwrite: bool,
    presets: tuple[str, ...],
    assignments: tuple[str, ...],
    **flags: Any,
) -> None:
    """Render a video, a folder of images, an image or a .npy file.

    INPUT may be "pattern", a moving test pattern; without INPUT the frames are generated from
    text alone. Both need --frames. The suffix of OUTPUT selects its format: a video, an image or
    .npy; without a suffix OUTPUT is a folder of PNG files.
    """
    if not 1 <= len(paths) <= 2:
        raise click.UsageError("render takes INPUT and OUTPUT, or OUTPUT and --frames")
    fixed = {"mode": "txt2img"} if len(paths) == 1 else {}
    console = Console(stderr=True)
    requested = configured(presets, assignments, flags, **fixed)
    config, reason = settle_model(requested)
    if run_as_rank(config):
        return
    input_path = paths[0] if len(paths) == 2 else None
    source = _source(input_path, config, frames, _rate(fps))
    length = min((n for n in (source.length, frames) if n), default=None)
    cue_list = _cues(cues, config, console)
    output = Path(paths[-1])
    for name in (input_path, cues):
        if name not in (None, PATTERN):
            _check_not_over(output, Path(str(name)))
    sink = open_file_sink(output, source.rate, length=length, overwrite=overwrite)
    if config is not requested:
        _report(console, f"model: {reason}")
    stream = _stream(config, console)
    began = time.perf_counter()
    progress = offline_render.render(
        source, stream, sink, config=config, parameters_at=cue_list, frames=frames
    )
    written = _show_progress(progress, length, console)
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


def _show_progress(frames: Generator[int], length: int | None, console: Console) -> int:
    """Render behind a progress bar and return the frames written; a signal stops it in between."""
    written = 0
    columns = (
        TextColumn("rendering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    with bar as progress, closing(frames):
        task = progress.add_task("render", total=length, fps=0.0)
        # Engines may be built for the first frame, which takes minutes: a signal interrupts that.
        written = next(frames)
        with stopping() as stop:
            for written in frames:
                progress.update(task, completed=written, fps=progress.tasks[0].speed or 0.0)
                if stop.is_set():
                    raise KeyboardInterrupt
        progress.update(task, total=written)
    return written


def _source(input_path: str | None, config: Config, frames: int | None, rate: Fraction) -> Source:
    if input_path not in (None, PATTERN):
        return open_file_source(Path(str(input_path)), rate)
    if frames is None:
        kind = "text to image" if input_path is None else "the test pattern"
        raise ConfigError(f"{kind} has no end of its own: set the number of frames with --frames")
    from streamcam.sources.generated import Blank, Pattern

    generated = Blank if input_path is None else Pattern
    return generated(config.width, config.height, rate, frames)


def _rate(fps: str | None) -> Fraction:
    if fps is None:
        return Fraction(30)
    # The regular expression excludes exponents, on which Fraction takes forever.
    valid = re.fullmatch(r"\d{1,9}(\.\d{1,9}|/[1-9]\d{0,8})?", fps, re.ASCII)
    rate = Fraction(fps).limit_denominator(100_000) if valid else Fraction(0)
    if not 0 < rate <= 1000:
        raise ConfigError(f"--fps takes a rate such as 25 or 30000/1001, got {fps}")
    return rate


def _check_not_over(output: Path, source: Path) -> None:
    """Raise MediaError if `output` is `source`, by whatever name, or one of the files in it."""
    if not output.name:
        return  # Refused as a name.
    for path in (output, temporary_path(output)):
        files = source.iterdir() if source.is_dir() else ()
        if path.exists() and (
            any(_are_same(path, file) for file in (source, *files))
            or source.resolve().is_relative_to(path.resolve())
        ):
            raise MediaError(f"{output} would be written over {source}; choose another name")


def _are_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False  # A link that leads nowhere.


def _cues(path: str | None, config: Config, console: Console) -> Cues:
    if not path:
        return Cues({})
    with console.status("checking the cues"):
        return read_cues(Path(path), config)
