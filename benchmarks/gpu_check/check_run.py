"""Run the sections one after the other, again while there is time, and keep what they report."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TextIO

from benchmarks.gpu_check.check_settings import CheckSettings
from benchmarks.gpu_check.records import Record, SectionEnd, as_json
from benchmarks.gpu_check.section_process import SectionRunner
from benchmarks.gpu_check.section_table import Section
from streamcam.sinks.atomic_file import explain_os_error

OK, FAILED, NOT_RUN = "ok", "failed", "not run"
RESERVE_S = 3.0
"""Left at the end, for the tables."""


@dataclass
class ResultsFile:
    """File of a JSON line for each record; each is on disk before the next is measured."""

    file: TextIO
    warn: Callable[[str], None]

    def add(self, number: int, section: Section, record: Record) -> None:
        """Write `record` of pass `number`; a full disk is reported, and the check goes on."""
        line = {"pass": number, "section": section.name, **as_json(record)}
        try:
            self.file.write(f"{json.dumps(line, ensure_ascii=False)}\n")
            self.file.flush()
        except OSError as error:
            self.warn(f"cannot write {self.file.name}: {explain_os_error(error)}")


@dataclass
class CheckRun:
    """A check of this machine."""

    sections: Sequence[Section]
    minutes: float
    passes: int | None
    """At the most; None for as many as there is time for."""
    is_small: bool
    folder: Path
    """For models and engines, gone after the check."""
    logs: Path
    """Folder for what the sections' processes print."""
    results: ResultsFile
    taken_s: dict[str, float] = field(default_factory=dict)
    """Seconds that each section took in the first pass."""

    def run(self) -> Iterator[tuple[int, Section, list[Record]]]:
        """Yield the number of the pass, a section and its records, when it has ended."""
        self._end = time.monotonic() + 60 * self.minutes - RESERVE_S
        runner = SectionRunner()
        runner.prepare()
        for number in count(1):
            ran = False
            for section in self.sections:
                if number > 1 and not self._is_worth_repeating(section):
                    continue
                records: list[Record] = []
                for record in self._section(runner, section):
                    self.results.add(number, section, record)
                    records.append(record)
                ran = True
                if number == 1 and isinstance(end := records[-1], SectionEnd):
                    self.taken_s[section.name] = end.seconds if end.status == OK else float("inf")
                yield number, section, records
            if not ran or number == self.passes:
                return

    def _is_worth_repeating(self, section: Section) -> bool:
        return section.repeats and self.taken_s[section.name] * 1.1 < self._left_s

    @property
    def _left_s(self) -> float:
        return self._end - time.monotonic()

    def _section(self, runner: SectionRunner, section: Section) -> Iterator[Record]:
        if self._left_s < (1.0 if self.is_small else section.least_s):
            yield SectionEnd(NOT_RUN, "the time was over", 0.0)
            return
        deadline = time.monotonic() + min(section.limit_s, self._left_s)
        settings = CheckSettings(str(self.folder), self.is_small, deadline)
        log = self.logs / f"{section.name.replace(' ', '-')}.log"
        yield from runner.run(section, settings, log)
