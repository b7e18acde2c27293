"""Measure the targets and write them as a dated page, for ``streamcam bench targets``."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from benchmarks.output_folder import check_writable, create_numbered
from benchmarks.target_table import Outcome, markdown_rows
from benchmarks.targets import TargetConfigs, TargetRun
from streamcam.bench.engine_comparison import Result
from streamcam.bench.harness import machine
from streamcam.cli import bench_options
from streamcam.cli.hardware import cpu_info
from streamcam.cli.options import configured
from streamcam.embedded_model import NANO
from streamcam.engines.placement import pick_device
from streamcam.version import __version__

LIBRARIES = ("torch", "diffusers", "openvino", "tensorrt")
NANO_ON_CPU = {"model": NANO, "device": "cpu"}
SMALL_ON_CPU = {"model": "random:small-sd-turbo", "width": 256, "height": 256, "device": "cpu"}
SD_TURBO_ON_GPU = {
    "model": "random:sd-turbo",
    "dtype": "float16",
    "device": "cuda",
    "cfg_type": "none",
    "t_index_list": [35],
}


def measure_targets(minutes: float, rounds: int, write: Path | None, *, as_json: bool) -> None:
    """Measure all targets that this machine can; print the page, or the figures as JSON.

    Args:
        minutes: nothing new is begun after so long.
        rounds: turns of each line.
        write: folder that the page is also written to, after each section.
        as_json: print JSON instead of the page.

    Raises:
        MediaError: the folder cannot be written to.
    """
    if write is not None:
        check_writable(write)
    configs = configs_here()
    facts, today = facts_of(configs), datetime.now(UTC)
    file = None if write is None else create_numbered(write / _file_name(facts, today))
    run = TargetRun(configs, bench_options.moving_scene, minutes, rounds)
    with bench_options.status() as status:
        run.report = status.update
        for outcomes in run.outcomes():
            page = "\n".join(markdown(facts, today, outcomes, run.tables, run.left_out))
            # After each section: if this is killed, what was measured so far is on disk.
            if file is not None:
                file.write_text(f"{page}\n", encoding="utf-8")
    if as_json:
        rows = [outcome._asdict() | {"reached": outcome.reached} for outcome in outcomes]
        tables = {title: list(map(asdict, results)) for title, results in run.tables}
        bench_options.print_json(facts, rows=rows, tables=tables, left_out=run.left_out)
    else:
        click.echo(page)
    if file is not None:
        click.echo(f"written to {file}", err=True)


def _file_name(facts: dict[str, Any], when: datetime) -> str:
    device = re.sub(r"[^a-z0-9]+", "-", str(facts["device"]).lower()).strip("-")
    return f"{when:%Y-%m-%d}-targets-{device}.md"


def configs_here() -> TargetConfigs:
    """Return the settings that are measured on this machine."""
    gpu = configured((), (), SD_TURBO_ON_GPU) if pick_device("auto").type == "cuda" else None
    return TargetConfigs(configured((), (), NANO_ON_CPU), configured((), (), SMALL_ON_CPU), gpu)


def facts_of(configs: TargetConfigs) -> dict[str, Any]:
    """Return the hardware and the versions of the libraries."""
    cpu = cpu_info()
    facts = bench_options.hardware() | {"processor": f"{cpu.name} {' '.join(cpu.features)}".strip()}
    device = cpu.name if configs.gpu is None else machine(configs.gpu)["device"]
    libraries = {name: installed for name in LIBRARIES if (installed := _version(name))}
    return {"device": device, **facts, "streamcam": __version__, **libraries}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def markdown(
    facts: dict[str, Any],
    when: datetime,
    outcomes: list[Outcome],
    tables: list[tuple[str, list[Result]]],
    left_out: list[str],
) -> Iterator[str]:
    """Yield the lines of the page."""
    yield f"# Targets, {when.day} {when:%B %Y}: {facts['device']}\n"
    yield (
        ", ".join(f"{name} {value}" for name, value in facts.items()) + ". Made by `make bench`.\n"
    )
    yield from markdown_rows(outcomes)
    for title, results in tables:
        yield from _table(title, results)
    if left_out:
        yield "\n## Left out\n"
        yield from (f"- {why}" for why in dict.fromkeys(left_out))


def _table(title: str, results: list[Result]) -> Iterator[str]:
    if not results:
        return
    baselines = list(results[0].ratios)
    headings = "".join(f" over {baseline} |" for baseline in baselines)
    yield f"\n## {title}\n"
    yield f"| | ms per frame | fps | latency, ms | MB | of the device |{headings}"
    yield "|---|--:|--:|--:|--:|--:|" + "--:|" * len(baselines)
    for result in results:
        ratios = "".join(f" {result.ratios[baseline]:.2f} |" for baseline in baselines)
        yield (
            f"| {result.name} | {result.ms:.2f} | {result.fps:.1f} | {result.latency_ms:.1f} |"
            f" {result.memory / 1e6:.0f} | {result.share:.0%} |{ratios}"
        )
