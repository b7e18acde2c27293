"""Command line of the check: ``python -m benchmarks.gpu_check``."""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import click
from rich.console import Console

from benchmarks.gpu_check.check_run import CheckRun, ResultsFile
from benchmarks.gpu_check.records import Record, SectionEnd
from benchmarks.gpu_check.section_table import Section, sections
from benchmarks.gpu_check.summary import Outcomes, section_table, target_table
from benchmarks.output_folder import check_writable, create_numbered
from benchmarks.target_table import Outcome, markdown_rows
from streamcam.errors import ConfigError, StreamcamError, suggest

STOPPED = 130
WIDTH = 160
"""Of tables that go into a file."""
RESULTS, PAGE, LOGS = "results.jsonl", "targets.md", "logs"
SMALL = "small shapes on the processor: the figures say nothing about the targets"


@click.command()
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.1),
    default=7.0,
    show_default=True,
    help="Everything ends after so long.",
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("gpu-check"),
    show_default=True,
    metavar="DIR",
    help="Folder for the results, the page of targets and the logs.",
)
@click.option("--only", multiple=True, metavar="SECTION", help="Run this section; repeatable.")
@click.option(
    "--passes", type=click.IntRange(min=1), help="At the most. [default: while there is time]"
)
@click.option("--small", is_flag=True, help="Tiny models, as without a card.")
@click.option("--list", "listed", is_flag=True, help="Print the names of the sections.")
def main(
    minutes: float, out: Path, only: tuple[str, ...], passes: int | None, small: bool, listed: bool
) -> None:
    """Measure this machine's NVIDIA card against the targets, in sections in order of worth.

    Without a card everything runs on tiny models. Exits with 1 if a section has failed.
    """
    try:
        chosen = _chosen(only)
        if listed:
            click.echo("\n".join(section.name for section in sections()))
            return
        failed = _check(chosen, minutes, out, passes or (1 if only else None), small=small)
    except StreamcamError as error:
        click.echo(f"gpu_check: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(failed)


def _chosen(only: tuple[str, ...]) -> list[Section]:
    known = {section.name: section for section in sections()}
    for name in only:
        if name not in known:
            raise ConfigError(f'no section "{name}": {suggest(name, list(known))}')
    return [known[name] for name in only] if only else list(known.values())


def _check(
    chosen: list[Section], minutes: float, out: Path, passes: int | None, *, small: bool
) -> int:
    """Run the check; return the exit status."""
    check_writable(out)
    (out / LOGS).mkdir(exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    has_card = _has_card()
    is_small = small or not has_card
    if is_small:
        console.print(SMALL if has_card else f"no NVIDIA card is found here: {SMALL}")
    outcomes, status = Outcomes(), 0
    results = create_numbered(out / RESULTS)
    page = results.with_name(results.name.replace("results", "targets")).with_suffix(".md")
    # Not under the folder of results, which may be copied: models and engines are gigabytes.
    with (
        tempfile.TemporaryDirectory(prefix="gpu-check-", ignore_cleanup_errors=True) as folder,
        results.open("w", encoding="utf-8") as file,
    ):
        lines = ResultsFile(file, lambda line: click.echo(f"gpu_check: {line}", err=True))
        run = CheckRun(chosen, minutes, passes, is_small, Path(folder), out / LOGS, lines)
        try:
            for number, section, records in run.run():
                status |= _report(console, outcomes, number, section, records)
                if not is_small:
                    _write_page(page, outcomes)
        except KeyboardInterrupt:
            click.echo("gpu_check: stopped; what was measured so far follows", err=True)
            status = STOPPED
    console.print(target_table(outcomes.all(), is_small=is_small))
    written = str(results) if is_small else f"{results} and {page}"
    console.print(f"written to {written}; logs in {out / LOGS}", soft_wrap=True, highlight=False)
    return status


def _report(
    console: Console, outcomes: Outcomes, number: int, section: Section, records: list[Record]
) -> int:
    """Print a section's table and keep its outcomes; return 1 if it has failed."""
    for record in records:
        if isinstance(record, Outcome):
            outcomes.add(number, record)
    title = section.name if number == 1 else f"{section.name}, pass {number}"
    for table in section_table(title, records):
        console.print(table, markup=False, highlight=False, soft_wrap=isinstance(table, str))
    end = records[-1]
    return int(isinstance(end, SectionEnd) and end.status == "failed")


def _write_page(page: Path, outcomes: Outcomes) -> None:
    rows = list(markdown_rows(outcomes.all()))
    with suppress(OSError):  # The results' own file reports a full disk.
        page.write_text("\n".join(["# Targets of a card", "", *rows, ""]), encoding="utf-8")


def _has_card() -> bool:
    """Return whether NVML finds a card, without torch."""
    import pynvml

    try:
        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return False


if __name__ == "__main__":
    main()
