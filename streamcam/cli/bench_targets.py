"""``streamcam bench targets``: the targets of a release, which are measured from a checkout."""

from importlib import import_module
from pathlib import Path

import click

from streamcam.cli import bench_options
from streamcam.errors import StreamcamError

CHECKOUT = (
    "bench targets measures a checkout, and this is an installed streamcam:"
    " git clone it, and run make bench there"
)


@click.command()
@click.option(
    "--minutes",
    type=click.FloatRange(min=0),
    metavar="MINUTES",
    default=10.0,
    show_default=True,
    help="Begin no other measurement after this many minutes.",
)
@bench_options.rounds(21, "Times that each line is measured; the median counts.")
@click.option(
    "--write",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Also write the page into this folder, named by date and device.",
)
@bench_options.as_json
def targets(minutes: float, rounds: int, write: Path | None, as_json: bool) -> None:
    """Measure all targets that this machine can. Those that are reached are marked.

    The embedded model and a small one run on the CPU; on an NVIDIA GPU random weights in
    SD-Turbo's shapes. What cannot be measured is left out, with the reason. Engines that are built
    are kept, so that a second run has more time.
    """
    try:
        # Not in the wheel: the only place where the product reaches for it.
        page = import_module("benchmarks.targets_page")
    except ModuleNotFoundError as error:
        if error.name not in ("benchmarks", "benchmarks.targets_page"):
            raise
        raise StreamcamError(CHECKOUT) from None
    page.measure_targets(minutes, rounds, write, as_json=as_json)
