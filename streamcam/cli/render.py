"""``streamcam render``."""

import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streamcam.cli.options import configured, settings
from streamcam.config import Config
from streamcam.errors import ConfigError
from streamcam.types import Source

PATTERN = "pattern"


@click.command(options_metavar="[OPTIONS]")
@click.argument("paths", nargs=-1, metavar="[INPUT] OUTPUT")
@click.option("--frames", type=click.IntRange(min=1), help="Stop after so many frames.")
@click.option("--fps", help="Frames per second of what has no rate of its own. [30]")
@click.option(
    "--cues", metavar="FILE", help='Live changes by frame, as JSON Lines: {"frame": 40, "seed": 7}.'
)
@settings
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
    config = configured(presets, assignments, flags, **fixed)
    source = _source(paths[0] if len(paths) == 2 else None, config, frames, _rate(fps))
    _render(source, Path(paths[-1]), config, frames, cues)


def _render(
    source: Source, output: Path, config: Config, frames: int | None, cues: str | None
) -> None:
    from streamcam import sinks
    from streamcam.control.cues import Cues, read
    from streamcam.runtime import offline

    console = Console(stderr=True)
    changes = read(Path(cues), config.live, config.check) if cues else Cues({})
    sink = sinks.open_file(output, source.rate)
    stream = _stream(config, console)
    length = min((n for n in (source.length, frames) if n), default=None)
    pictures = offline.render(
        source,
        stream,
        sink,
        parameters=config.live,
        parameters_at=changes,
        frames=frames,
    )
    began = time.perf_counter()
    written = _watch(pictures, length, console)
    seconds = time.perf_counter() - began
    skipped = f", {stream.counts['skipped']} skipped" if stream.counts["skipped"] else ""
    console.print(
        f"{output}: {written} frames{skipped}, {written / seconds:.1f} fps", highlight=False
    )


def _stream(config: Config, console: Console) -> Any:
    with console.status("loading the model"):
        from streamcam.diffusion.models import load_models
        from streamcam.diffusion.stream import DiffusionStream

        say = lambda line: console.print(line, highlight=False, markup=False)  # noqa: E731
        return DiffusionStream(load_models(config, say), config)


def _watch(pictures: Iterator[int], length: int | None, console: Console) -> int:
    written = 0
    columns = (
        TextColumn("rendering"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[fps]:.1f} fps"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("render", total=length, fps=0.0)
        for written in pictures:
            progress.update(task, completed=written, fps=progress.tasks[0].speed or 0.0)
        progress.update(task, total=written)
    return written


def _source(given: str | None, config: Config, frames: int | None, rate: Fraction) -> Source:
    from streamcam import sources

    if given not in (None, PATTERN):
        return sources.open_file(Path(str(given)), rate)
    if frames is None:
        what = "text to image" if given is None else "the test picture"
        raise ConfigError(f"{what} has no end of its own: say how many with --frames")
    from streamcam.sources.pattern import Blank, Pattern

    kind = Blank if given is None else Pattern
    return kind(config.width, config.height, rate, frames)


def _rate(fps: str | None) -> Fraction:
    try:
        rate = Fraction(fps or 30)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise ConfigError(f"--fps takes a rate such as 25 or 30000/1001, got {fps}")
    return rate.limit_denominator(100_000)
