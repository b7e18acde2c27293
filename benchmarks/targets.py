"""Targets that a release is held to, and their measurement on this machine.

Each figure is measured, or left out with the reason. Nothing new is begun when the time is over;
engines that were built are kept, so that another run goes further.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.kept_model import kept_on_disk
from benchmarks.target_table import (
    BATCH,
    DIFFUSERS,
    ENERGY,
    FOUR,
    NANO_ENGINE,
    ONE,
    OVERHEAD,
    RELEASE,
    RESIDUAL,
    SMALL_ENGINE,
    START,
    Outcome,
    Target,
)
from streamcam.bench.energy import MAX_FPS, counter_for, measure
from streamcam.bench.engine_comparison import Comparison, Result
from streamcam.bench.harness import changed, no_report
from streamcam.bench.image_bench import at_steps
from streamcam.bench.start_time import start_time
from streamcam.errors import EngineError, StreamcamError
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.types import Image

ENERGY_S = 10.0


class TargetConfigs(NamedTuple):
    """Settings to measure: the embedded model and a small one on the CPU, and one on a GPU."""

    nano: Config
    small: Config
    gpu: Config | None


@dataclass
class TargetRun:
    """Measure all targets that this machine can, section by section."""

    configs: TargetConfigs
    scene: Callable[[Config], Sequence[Image]]
    """Returns moving images of a model's size."""
    minutes: float
    rounds: int = 21
    report: Report = no_report
    tables: list[tuple[str, list[Result]]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def outcomes(self) -> Iterator[list[Outcome]]:
        """Yield the outcomes of all targets so far, in their order, after each section."""
        self._deadline = time.monotonic() + 60 * self.minutes
        measured: dict[Target, Outcome] = {}
        with tempfile.TemporaryDirectory() as folder:
            for section in self._sections(Path(folder)):
                try:
                    for outcome in section():
                        measured.setdefault(outcome.target, outcome)
                except StreamcamError as error:
                    self.left_out.append(str(error))
                yield [measured.get(target, self._missing(target)) for target in RELEASE]

    def _sections(self, folder: Path) -> Iterator[Callable[[], Iterator[Outcome]]]:
        if self.configs.gpu is not None:
            gpu = kept_on_disk(self.configs.gpu, folder / "model")
            yield lambda: self._one_frame(gpu)
            best = max(
                self._streams(self.tables[0][1] if self.tables else []),
                key=lambda line: line.fps,
                default=None,
            )
            engine, fps = ("eager", 1.0) if best is None else (best.name.split()[0], best.fps)
            fastest = changed(gpu, acceleration=engine)
            yield lambda: self._four_frames(gpu, engine)
            yield lambda: self._speedups(gpu, engine)
            yield lambda: self._start(fastest)
            yield lambda: self._energy(fastest, fps)
        yield self._nano
        yield self._small

    def _missing(self, target: Target) -> Outcome:
        if target.where == "GPU" and self.configs.gpu is None:
            return Outcome(target, None, "needs an NVIDIA GPU")
        if time.monotonic() > self._deadline:
            return Outcome(target, None, "the time was over; run it again, engines are kept")
        return Outcome(target, None, "not measured; the list of what was left out has the reason")

    # ---- sections, each of which takes some minutes

    def _one_frame(self, gpu: Config) -> Iterator[Outcome]:
        lines = self._compared(f"{gpu.model}, one frame per call", gpu)
        yield from self._overhead(lines)
        yield from self._rate(ONE, lines)

    def _four_frames(self, gpu: Config, engine: str) -> Iterator[Outcome]:
        config = changed(gpu, frame_buffer_size=4)
        yield from self._rate(FOUR, self._compared("four frames per call", config, engine))

    def _speedups(self, gpu: Config, engine: str) -> Iterator[Outcome]:
        four = at_steps(gpu, 4, "none")
        for target, config, over in (
            (BATCH, four, changed(four, use_denoising_batch=False)),
            (RESIDUAL, at_steps(gpu, 5, "self"), at_steps(gpu, 5, "full")),
        ):
            comparison = self._comparison(gpu)
            ratio = comparison.speedup(engine, config, over)
            self.left_out += comparison.left_out
            if ratio is not None:
                yield Outcome(target, ratio, f"both on {engine}")

    def _start(self, gpu: Config) -> Iterator[Outcome]:
        self._check_time("second start")
        # The first start was that of the comparison, which has built the engines.
        seconds = start_time(gpu).first_output_s
        yield Outcome(START, seconds, f"on {gpu.acceleration}, the process included")

    def _energy(self, gpu: Config, fps: float) -> Iterator[Outcome]:
        self._check_time("energy")
        rate = max(1, min(MAX_FPS, int(fps)))
        paced = changed(gpu, broadcast=gpu.broadcast.model_copy(update={"fps": float(rate)}))
        readings = measure(paced, self.scene(paced), counter_for(paced), seconds=ENERGY_S)
        off, on = readings[2:]
        note = f"{off.watts:.0f} W and {on.watts:.0f} W at {rate} fps on {gpu.acceleration}"
        yield Outcome(ENERGY, off.watts / on.watts, note)

    def _nano(self) -> Iterator[Outcome]:
        lines = self._compared("nano on the CPU", self.configs.nano)
        yield from self._overhead(lines)
        yield from self._over_eager(NANO_ENGINE, lines)

    def _small(self) -> Iterator[Outcome]:
        small = at_steps(self.configs.small, 4, "self")
        lines = self._compared(f"{small.model} on the CPU, 4 steps", small)
        yield from self._over_eager(SMALL_ENGINE, lines)
        if streams := self._streams(lines):
            best = min(streams, key=lambda line: line.ms)
            (_, over_float32), *more = best.ratios.items()
            ratios = [f"{ratio:.2f}× over {name}" for name, ratio in more]
            yield Outcome(
                DIFFUSERS, over_float32, ", ".join([best.name.removesuffix(STREAM), *ratios])
            )

    # ---- figures from results

    def _overhead(self, lines: list[Result]) -> Iterator[Outcome]:
        for line in sorted(self._streams(lines), key=lambda line: line.ms)[:1]:
            yield Outcome(OVERHEAD, line.over_bare, line.name.removesuffix(STREAM))

    def _rate(self, target: Target, lines: list[Result]) -> Iterator[Outcome]:
        for line in sorted(self._streams(lines), key=lambda line: line.ms)[:1]:
            yield Outcome(target, line.fps, line.name.removesuffix(STREAM))

    def _over_eager(self, target: Target, lines: list[Result]) -> Iterator[Outcome]:
        streams = self._streams(lines)
        eager = [line for line in streams if line.name == f"eager float32{STREAM}"]
        engines = [line for line in streams if not line.name.startswith("eager")]
        if eager and engines:
            best = min(engines, key=lambda line: line.ms)
            yield Outcome(target, eager[0].ms / best.ms, best.name.removesuffix(STREAM))

    def _streams(self, lines: list[Result]) -> list[Result]:
        """Return the results of whole streams, without float8, which costs precision."""
        streams = [line for line in lines if line.name.endswith(STREAM)]
        return [line for line in streams if "float8" not in line.name]

    def _compared(self, title: str, config: Config, engine: str | None = None) -> list[Result]:
        self.report(title)
        comparison = self._comparison(config)
        if engine is not None:
            comparison.restrict_to(engine)
        results: list[Result] = comparison.results()
        self.tables.append((title, results))
        self.left_out += comparison.left_out
        return results

    def _comparison(self, config: Config) -> Comparison:
        scene = self.scene(config)
        return Comparison(
            config, scene, rounds=self.rounds, deadline=self._deadline, report=self.report
        )

    def _check_time(self, what: str) -> None:
        if time.monotonic() > self._deadline:
            raise EngineError(f"{what}: the time was over")


STREAM = ": streamcam"
"""End of the names of results that are the whole stream on an engine."""
