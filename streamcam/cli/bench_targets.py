"""``streamcam bench targets``."""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamcam.cli import bench_options
from streamcam.cli.hardware import processor
from streamcam.cli.options import configured
from streamcam.embedded import NANO
from streamcam.errors import MediaError
from streamcam.sinks.atomic_file import explain_os_error
from streamcam.version import __version__

if TYPE_CHECKING:
    from benchmarks.targets import Outcome, Subjects
    from streamcam.bench.engine_comparison import Standing

LIBRARIES = ("torch", "diffusers", "openvino", "tensorrt")
SMALL = {"model": "random:small-sd-turbo", "width": 256, "height": 256, "device": "cpu"}
CARD = {
    "model": "random:sd-turbo",
    "dtype": "float16",
    "device": "cuda",
    "cfg_type": "none",
    "t_index_list": [35],
}


@click.command()
@click.option(
    "--minutes",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Begin nothing new after so long.",
)
@bench_options.rounds(21, "Turns of each line.")
@click.option(
    "--write",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the page into this folder too, named by date and device.",
)
@bench_options.as_json
def targets(minutes: float, rounds: int, write: Path | None, as_json: bool) -> None:
    """Measure every target that this machine can, and say which are reached.

    The embedded model and a small one run on the processor; on an NVIDIA card random weights in
    SD-Turbo's shapes. What cannot be measured is left out, with the reason. Engines that are built
    are kept, so that a second run has more time.
    """
    from benchmarks.targets import Targets

    if write is not None:
        _prepare(write)
    subjects = subjects_here()
    facts, today = facts_of(subjects), datetime.now(UTC)
    file = None if write is None else write / _name(facts, today)
    measured = Targets(subjects, bench_options.moving_scene, minutes, rounds)
    with bench_options.status() as shown:
        measured.report = shown.update
        for outcomes in measured.outcomes():
            tables, left_out = measured.tables, measured.left_out
            page = "\n".join(markdown(facts, today, outcomes, tables, left_out))
            # After each section: what is there when this is killed is there.
            if file is not None:
                file.write_text(f"{page}\n", encoding="utf-8")
    if as_json:
        rows = [outcome._asdict() | {"reached": outcome.reached} for outcome in outcomes]
        told = {title: list(map(asdict, lines)) for title, lines in tables}
        bench_options.print_json(facts, rows=rows, tables=told, left_out=left_out)
    else:
        click.echo(page)
    if file is not None:
        click.echo(f"written to {file}", err=True)


def _name(facts: dict[str, Any], when: datetime) -> str:
    device = re.sub(r"[^a-z0-9]+", "-", str(facts["device"]).lower()).strip("-")
    return f"{when:%Y-%m-%d}-targets-{device}.md"


def _prepare(folder: Path) -> None:
    """See to it that the page can be written, before ten minutes are spent on it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise MediaError(f"cannot write into {folder}: {explain_os_error(error)}") from None


def subjects_here() -> "Subjects":
    """Return what is measured on this machine."""
    from benchmarks.targets import Subjects
    from streamcam.engines.placement import pick_device

    nano, small = ({"model": NANO, "device": "cpu"}, SMALL)
    card = configured((), (), CARD) if pick_device("auto").type == "cuda" else None
    return Subjects(configured((), (), nano), configured((), (), small), card)


def facts_of(subjects: "Subjects") -> dict[str, Any]:
    """Return the hardware and the versions."""
    from streamcam.bench.harness import machine

    cpu = processor()
    facts = bench_options.hardware() | {"processor": f"{cpu.name} {' '.join(cpu.features)}".strip()}
    device = cpu.name if subjects.card is None else machine(subjects.card)["device"]
    found = {name: installed for name in LIBRARIES if (installed := _version(name))}
    return {"device": device, **facts, "streamcam": __version__, **found}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def markdown(
    facts: dict[str, Any],
    when: datetime,
    outcomes: "list[Outcome]",
    tables: "list[tuple[str, list[Standing]]]",
    left_out: list[str],
) -> Iterator[str]:
    """Yield the lines of the page."""
    yield f"# Targets, {when.day} {when:%B %Y}: {facts['device']}\n"
    yield (
        ", ".join(f"{name} {value}" for name, value in facts.items()) + ". Made by `make bench`.\n"
    )
    yield "| where | what | target | measured | reached | |"
    yield "|---|---|--:|--:|---|---|"
    for outcome in outcomes:
        target, figure, note = outcome
        bound = f"{'≤' if target.at_most else '≥'} {target.bound:g} {target.unit}"
        told = "" if figure is None else f"{figure:.2f} {target.unit}"
        reached = {True: "yes", False: "no", None: ""}[outcome.reached]
        yield f"| {target.where} | {target.what} | {bound} | {told} | {reached} | {note} |"
    for title, lines in tables:
        yield from _table(title, lines)
    if left_out:
        yield "\n## Left out\n"
        yield from (f"- {why}" for why in dict.fromkeys(left_out))


def _table(title: str, lines: "list[Standing]") -> Iterator[str]:
    if not lines:
        return
    peers = list(lines[0].ratios)
    over = "".join(f" over {peer} |" for peer in peers)
    yield f"\n## {title}\n"
    yield f"| | ms per frame | fps | latency, ms | MB | of the device |{over}"
    yield "|---|--:|--:|--:|--:|--:|" + "--:|" * len(peers)
    for line in lines:
        ratios = "".join(f" {line.ratios[peer]:.2f} |" for peer in peers)
        yield (
            f"| {line.name} | {line.ms:.2f} | {line.fps:.1f} | {line.latency_ms:.1f} |"
            f" {line.memory / 1e6:.0f} | {line.share:.0%} |{ratios}"
        )
