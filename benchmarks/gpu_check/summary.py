"""Tables of a check: one for each section, and that of the targets at the end."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence

from rich import box
from rich.table import Table

from benchmarks.gpu_check.records import LeftOut, Reading, Record, SectionEnd, Value
from benchmarks.target_table import GPU_CHECK, Outcome, Target

MET = {True: "yes", False: "no", None: ""}


def section_table(title: str, records: Sequence[Record]) -> Iterator[Table | str]:
    """Yield a table for each run of readings that have the same figures, then what was left out."""
    table: Table | None = None
    names: tuple[str, ...] = ()
    readings = [record for record in records if isinstance(record, Reading)]
    for reading in readings:
        if all(isinstance(value, str) for value in reading.values.values()):
            yield f"{reading.name}: {', '.join(f'{k} {v}' for k, v in reading.values.items())}"
    for reading in readings:
        if all(isinstance(value, str) for value in reading.values.values()):
            continue
        if table is None or tuple(reading.values) != names:
            if table is not None:
                yield table
            names = tuple(reading.values)
            table = Table(title=title, title_justify="left", box=None, pad_edge=False)
            table.add_column("", min_width=22, overflow="fold")
            for name in names:
                table.add_column(name, justify="right", overflow="fold")
        table.add_row(reading.name, *map(_shown, reading.values.values()))
    if table is not None:
        yield table
    left_out = [record.why for record in records if isinstance(record, LeftOut)]
    yield from (f"{title}: left out: {why}" for why in dict.fromkeys(left_out))
    for record in records:
        if isinstance(record, SectionEnd) and record.why:
            yield f"{title}: {record.status}: {record.why}"


def _shown(value: Value) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


class Outcomes:
    """The outcomes of all passes, of which the best of each pass counts."""

    def __init__(self) -> None:
        self._best: dict[Target, dict[int, Outcome]] = defaultdict(dict)

    def add(self, number: int, outcome: Outcome) -> None:
        """Add an outcome of pass `number`."""
        passes = self._best[outcome.target]
        if number not in passes or _is_better(outcome, passes[number]):
            passes[number] = outcome

    def all(self) -> list[Outcome]:
        """Return an outcome for each target: the median over the passes, with their spread."""
        return [self._median(target) for target in GPU_CHECK]

    def _median(self, target: Target) -> Outcome:
        passes = self._best.get(target)
        if not passes:
            return Outcome(target, None, "not measured")
        figures = [outcome.figure for outcome in passes.values() if outcome.figure is not None]
        note = passes[min(passes)].note
        if len(figures) > 1:
            spread = f"{min(figures):.3g} to {max(figures):.3g} in {len(figures)} passes"
            note = f"{note}; {spread}" if note else spread
        return Outcome(target, statistics.median(figures), note)


def _is_better(a: Outcome, b: Outcome) -> bool:
    assert a.figure is not None
    assert b.figure is not None
    return a.figure < b.figure if a.target.at_most else a.figure > b.figure


def target_table(outcomes: Sequence[Outcome], *, is_small: bool) -> Table:
    """Return the table of targets; small shapes say nothing about them, and meet none."""
    table = Table(title="targets", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "measured", "target", "met", ""):
        table.add_column(heading, justify="left" if not heading else "right", overflow="fold")
    for outcome in outcomes:
        target, figure, note = outcome
        measured = "" if figure is None else f"{figure:.2f} {target.unit}"
        met = "" if is_small else MET[outcome.reached]
        table.add_row(target.what, measured, target.bound_text, met, note)
    return table
