"""What streamcam is to reach, and whether it does on this machine.

Each figure is measured, or left out with the reason. Nothing new is begun when the time is over;
engines that were built are kept, so that another run goes further.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from streamcam.bench.energy import counter_for, measure
from streamcam.bench.engine_comparison import Comparison, Standing
from streamcam.bench.harness import changed, iter_frames, quiet
from streamcam.bench.image_bench import at_steps
from streamcam.child_process import start_child
from streamcam.diffusion.image_model import load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.placement import pick_dtype, place
from streamcam.errors import EngineError, StreamcamError
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.families import RANDOM, Report
from streamcam.settings.config import Config
from streamcam.types import Image

FIRST_PICTURE_MAIN = "benchmarks.targets:first_picture"
PICTURE = "picture"
ENERGY_S = 10.0
MAX_FPS = 240


class Target(NamedTuple):
    """A figure to reach: so much at the least, or at the most."""

    where: str
    what: str
    bound: float
    unit: str
    at_most: bool = False


OVERHEAD = Target("any", "pipeline time / bare model calls", 1.03, "×", at_most=True)
NANO_ENGINE = Target("CPU", "embedded model, 256²: best engine over eager float32", 2.5, "×")
SMALL_ENGINE = Target(
    "CPU", "9M-parameter U-Net, 4 steps, self: best engine over eager float32", 2.0, "×"
)
PEER = Target("CPU", "over diffusers' img2img pipeline in float32, same model, 4 steps", 4.0, "×")
ONE = Target("GPU", "SD-Turbo shapes, 512², 1 step: one frame per call", 250, "fps")
FOUR = Target("GPU", "SD-Turbo shapes, 512², 1 step: frame_buffer_size 4", 450, "fps")
BATCH = Target("GPU", "Stream Batch over sequential steps, 4 steps", 2.0, "×")
RESIDUAL = Target("GPU", "RCFG self over CFG, 5 steps", 2.05, "×")
ENERGY = Target("GPU", "watts, still scene: filter off over on", 2.4, "×")
START = Target("GPU", "second start to first picture, engines kept", 5.0, "s", at_most=True)
TARGETS = (
    OVERHEAD, NANO_ENGINE, SMALL_ENGINE, PEER, ONE, FOUR, BATCH, RESIDUAL, ENERGY, START,
)  # fmt: skip


class Outcome(NamedTuple):
    """What became of a target."""

    target: Target
    figure: float | None
    """None where it was not measured."""
    note: str
    """How it was measured, or why it was not."""

    @property
    def reached(self) -> bool | None:
        """Return whether the target is, None where it was not measured."""
        if self.figure is None:
            return None
        target = self.target
        return self.figure <= target.bound if target.at_most else self.figure >= target.bound


class Subjects(NamedTuple):
    """What is measured: on the processor the embedded model and a small one, and one on a card."""

    nano: Config
    small: Config
    card: Config | None


@dataclass
class Targets:
    """Measures every target that this machine can."""

    subjects: Subjects
    scene: Callable[[Config], Sequence[Image]]
    """Gives moving pictures of a model's size."""
    minutes: float
    rounds: int = 21
    report: Report = quiet
    tables: list[tuple[str, list[Standing]]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def outcomes(self) -> Iterator[list[Outcome]]:
        """Yield what became of all targets so far, in their order, after each section."""
        self._until = time.monotonic() + 60 * self.minutes
        found: dict[Target, Outcome] = {}
        with tempfile.TemporaryDirectory() as folder:
            for section in self._sections(Path(folder)):
                try:
                    for outcome in section():
                        found.setdefault(outcome.target, outcome)
                except StreamcamError as error:
                    self.left_out.append(str(error))
                yield [found.get(target, self._missing(target)) for target in TARGETS]

    def _sections(self, folder: Path) -> Iterator[Callable[[], Iterator[Outcome]]]:
        if self.subjects.card is not None:
            card = kept_on_disk(self.subjects.card, folder)
            yield lambda: self._one_frame(card)
            best = max(
                self._streams(self.tables[0][1] if self.tables else []),
                key=lambda line: line.fps,
                default=None,
            )
            engine, fps = ("eager", 1.0) if best is None else (best.name.split()[0], best.fps)
            at_best = changed(card, acceleration=engine)
            yield lambda: self._four_frames(card, engine)
            yield lambda: self._versus(card, engine)
            yield lambda: self._start(at_best)
            yield lambda: self._energy(at_best, fps)
        yield self._nano
        yield self._small

    def _missing(self, target: Target) -> Outcome:
        if target.where == "GPU" and self.subjects.card is None:
            return Outcome(target, None, "needs an NVIDIA card")
        if time.monotonic() > self._until:
            return Outcome(target, None, "the time was over; run it again, engines are kept")
        return Outcome(target, None, "not measured; where it was tried, what was left out says why")

    # ---- sections, each of which needs some minutes

    def _one_frame(self, card: Config) -> Iterator[Outcome]:
        lines = self._compared(f"{card.model}, one frame per call", card)
        yield from self._overhead(lines)
        yield from self._rate(ONE, lines)

    def _four_frames(self, card: Config, engine: str) -> Iterator[Outcome]:
        config = changed(card, frame_buffer_size=4)
        yield from self._rate(FOUR, self._compared("four frames per call", config, engine))

    def _versus(self, card: Config, engine: str) -> Iterator[Outcome]:
        one_by_one = {"use_denoising_batch": False}
        four = at_steps(card, 4, "none")
        for target, ours, others in (
            (BATCH, four, changed(four, **one_by_one)),
            (RESIDUAL, at_steps(card, 5, "self"), at_steps(card, 5, "full")),
        ):
            comparison = self._comparison(card)
            ratio = comparison.versus(engine, ours, others)
            self.left_out += comparison.left_out
            if ratio is not None:
                yield Outcome(target, ratio, f"both on {engine}")

    def _start(self, card: Config) -> Iterator[Outcome]:
        self._in_time("second start")
        # The first one was that of the comparison, which has built the engines.
        yield Outcome(START, second_start(card), f"on {card.acceleration}, the process included")

    def _energy(self, card: Config, fps: float) -> Iterator[Outcome]:
        self._in_time("energy")
        rate = max(1, min(MAX_FPS, int(fps)))
        paced = changed(card, broadcast=card.broadcast.model_copy(update={"fps": float(rate)}))
        draws = measure(paced, self.scene(paced), counter_for(paced), seconds=ENERGY_S)
        off, on = draws[2:]
        note = f"{off.watts:.0f} W and {on.watts:.0f} W at {rate} fps on {card.acceleration}"
        yield Outcome(ENERGY, off.watts / on.watts, note)

    def _nano(self) -> Iterator[Outcome]:
        lines = self._compared("nano on the processor", self.subjects.nano)
        yield from self._overhead(lines)
        yield from self._over_eager(NANO_ENGINE, lines)

    def _small(self) -> Iterator[Outcome]:
        small = at_steps(self.subjects.small, 4, "self")
        lines = self._compared(f"{small.model} on the processor, 4 steps", small)
        yield from self._over_eager(SMALL_ENGINE, lines)
        if streams := self._streams(lines):
            best = min(streams, key=lambda line: line.ms)
            base, *others = best.ratios.items()
            told = [f"{ratio:.2f}× over {name}" for name, ratio in others]
            yield Outcome(PEER, base[1], ", ".join([best.name.removesuffix(STREAM), *told]))

    # ---- figures from lines

    def _overhead(self, lines: list[Standing]) -> Iterator[Outcome]:
        for line in sorted(self._streams(lines), key=lambda line: line.ms)[:1]:
            yield Outcome(OVERHEAD, line.over_bare, line.name.removesuffix(STREAM))

    def _rate(self, target: Target, lines: list[Standing]) -> Iterator[Outcome]:
        for line in sorted(self._streams(lines), key=lambda line: line.ms)[:1]:
            yield Outcome(target, line.fps, line.name.removesuffix(STREAM))

    def _over_eager(self, target: Target, lines: list[Standing]) -> Iterator[Outcome]:
        streams = self._streams(lines)
        eager = [line for line in streams if line.name == f"eager float32{STREAM}"]
        engines = [line for line in streams if not line.name.startswith("eager")]
        if eager and engines:
            best = min(engines, key=lambda line: line.ms)
            yield Outcome(target, eager[0].ms / best.ms, best.name.removesuffix(STREAM))

    def _streams(self, lines: list[Standing]) -> list[Standing]:
        """Return the lines of whole streams; targets are not for float8, which costs precision."""
        streams = [line for line in lines if line.name.endswith(STREAM)]
        return [line for line in streams if "float8" not in line.name]

    def _compared(self, title: str, config: Config, engine: str | None = None) -> list[Standing]:
        self.report(title)
        comparison = self._comparison(config)
        if engine is not None:
            comparison.keep_to(engine)
        lines: list[Standing] = comparison.standings()
        self.tables.append((title, lines))
        self.left_out += comparison.left_out
        return lines

    def _comparison(self, config: Config) -> Comparison:
        scene = self.scene(config)
        return Comparison(config, scene, rounds=self.rounds, until=self._until, report=self.report)

    def _in_time(self, what: str) -> None:
        if time.monotonic() > self._until:
            raise EngineError(f"{what}: the time was over")


STREAM = ": streamcam"
"""What lines of a comparison end in that are the whole stream on an engine."""


def kept_on_disk(config: Config, folder: Path) -> Config:
    """Return `config` with its random model as one that lies in `folder`, as real ones do."""
    if not config.model.startswith(RANDOM):
        return config
    placement = place(changed(config, acceleration="eager"))
    dtype = pick_dtype(config.dtype, placement.device)
    load_pipeline(config, dtype, quiet).save_pretrained(folder / "model")
    return changed(config, model=str(folder / "model"))


def second_start(config: Config) -> float:
    """Return the seconds from the start of a process to the first picture of a stream.

    Raises:
        EngineError: no picture came, or engines had to be built for it.
    """
    began = time.monotonic()
    process = start_child(
        FIRST_PICTURE_MAIN,
        config.model_dump_json(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout is not None
        came = process.stdout.readline().strip()
        took = time.monotonic() - began
    if came != PICTURE:
        raise EngineError(f"second start: {came or 'no picture came'}")
    return took


def first_picture() -> None:
    """Be the other process: take the settings from standard input, say when a picture is there."""
    import numpy as np

    config = Config.model_validate_json(sys.stdin.readline())
    said: list[str] = []
    stream = DiffusionStream(load_image_model(config, said.append), config)
    grey = np.full((config.height, config.width, 3), 127, np.uint8)
    made = (stream(frame, config.live) for frame in iter_frames([grey]))
    next(pictures for pictures in made if pictures)
    built = next((line for line in said if line.startswith("building")), None)
    print(built or PICTURE, flush=True)
