"""A day of streams on a cluster: ``python -m benchmarks.scaling_simulation``.

Prints a table for 1 to 10,000 streams, then one with a single change in each row. The same seed
gives the same tables.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.scaling_simulation.assumptions import RTX_4090, Assumptions, Card
from benchmarks.scaling_simulation.chart import chart
from benchmarks.scaling_simulation.simulation import Result, Simulation

MOST = 10_000
COLUMNS = (
    *("", "GPUs at most", "GPU-hours", "of them busy", "GPU-hours per 100 stream-hours"),
    *("model's first output: p50, p95, p99", "refused"),
    *(
        "streams that lost their GPU",
        "back after: p50, p99",
        "seconds off the model per stream-hour",
    ),
)


def sizes() -> Iterator[tuple[str, Assumptions]]:
    """Yield days with more and more streams; the small ones have a GPU in each node."""
    for streams in (1, 10, 100, 1000, MOST):
        yield f"{streams:,}", Assumptions(streams=streams, gpus_per_node=1 if streams < 50 else 8)


def changes() -> Iterator[tuple[str, Assumptions]]:
    """Yield the largest day, with one thing changed in each."""
    day = Assumptions(streams=MOST)
    yield "as above", day
    yield "no zone fails", replace(day, zone_fails_at_h=None)
    yield "half as many GPUs spare as busy, not a tenth", replace(day, spare=0.5)
    yield "none spare", replace(day, spare=0.0)
    yield "nodes start in 10 minutes, not 4", replace(day, node_start_s=600.0)
    yield "models load in 5 s, not 30", replace(day, cold_s=5.0)
    yield "a placement takes 100 ms, not 10", replace(day, placement_s=0.1)
    yield "the fullest GPU first", replace(day, packing="best-fit")
    yield "the emptiest GPU first", replace(day, packing="spread")
    yield "streams never share calls", replace(day, card=_unshared(day.card))
    yield "RTX 4090 as published, no video", replace(day, card=RTX_4090)


def _unshared(card: Card) -> Card:
    return replace(card, kinds=tuple(replace(kind, gain=1.0) for kind in card.kinds))


def row(name: str, result: Result) -> Sequence[str]:
    """Return the figures of a day, as the columns of the table."""
    hours = max(result.stream_hours, 1e-9)
    starts, outages = sorted(result.starts_s), sorted(result.outages_s)
    return (
        name,
        f"{result.most_gpus:,}",
        f"{result.gpu_hours:,.0f}",
        f"{result.utilisation:.0%}",
        f"{100 * result.gpu_hours / hours:.1f}",
        ", ".join(_seconds(starts, share) for share in (0.5, 0.95, 0.99)),
        f"{result.refused / max(result.sessions, 1):.2%}",
        f"{len(outages):,}",
        ", ".join(_seconds(outages, share) for share in (0.5, 0.99)) if outages else "",
        f"{result.off_s_per_stream_hour:.2f}",
    )


def _seconds(values: Sequence[float], share: float) -> str:
    return f"{values[int(share * (len(values) - 1))]:.0f} s" if values else ""


def main() -> None:
    """Print the tables, and write the chart of the largest day if asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling_simulation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chart", type=Path, help="file for the chart of the largest day (SVG)")
    given = parser.parse_args()
    for title, days in (("streams at the busiest time", sizes()), ("10,000 streams", changes())):
        print("|", " | ".join((title, *COLUMNS[1:])), "|")
        print("|---" + "|--:" * (len(COLUMNS) - 1) + "|")
        for name, assumptions in days:
            result = Simulation(assumptions, given.seed).run()
            print("|", " | ".join(row(name, result)), "|", flush=True)
            if given.chart and assumptions == Assumptions(streams=MOST):
                text = chart(result.samples, "A day of 10,000 streams, and a zone that fails")
                given.chart.write_text(text, encoding="utf-8")
        print()


if __name__ == "__main__":
    main()
