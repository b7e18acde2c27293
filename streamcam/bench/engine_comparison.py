"""Compare all engines on the same weights in one run, with their limits and diffusers' pipeline."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from streamcam.bench.candidates import Candidate, median_speedup
from streamcam.bench.device_use import DeviceUse, device_use
from streamcam.bench.diffusers_baseline import diffusers_candidate
from streamcam.bench.harness import (
    bare_calls,
    changed,
    iter_frames,
    matrix_rate,
    no_report,
    synchronize,
)
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.rehearsal import StreamRehearsal
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.dtypes import FLOAT8, INT8, dtype_of, name_of
from streamcam.engines.placement import pick_device, pick_dtype, place, timings_key
from streamcam.engines.requirements import float8_engine
from streamcam.engines.selection import ENGINES, FASTEST
from streamcam.engines.store import Store
from streamcam.engines.timings import save_timings
from streamcam.errors import EngineError, StreamcamError
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.system.cores import available_cores
from streamcam.types import Image

EAGER = "eager"
WARM_S, WARM_CALLS = 1.0, 3
ROUNDS = 21
LEVELS = (0, 85, 170, 255)
"""Grey levels of the images that engines are measured on: the similarity filter skips none."""
CALLS, CALLS_ON_GPU = 3, 8
"""Calls that are timed in a turn; a GPU works on while the CPU prepares the next one."""
FAILURES = ("is refused", "cannot be", "there is no")
"""Parts of the reports that an engine was not used, and the stage ran without it."""


Maker = Callable[[], list[Candidate]]
"""Makes candidates, or raises a StreamcamError where they cannot run."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table; times are medians over all rounds."""

    name: str
    ms: float
    """Per frame."""
    latency_ms: float
    """From a frame's entry to its output: every step of a stream batch takes a frame's time."""
    memory: int
    """Bytes that this candidate added: of the GPU, or of the process on a CPU."""
    share: float
    """Of the device's own matrix rate, in the same dtype."""
    ratios: Mapping[str, float]
    """Times as fast as each baseline, round by round; without one, as the first line."""
    over_bare: float | None
    """Time over that of the bare model calls, round by round; None where these are no line."""
    use: DeviceUse | None = None
    """Launches of a frame, and the GPU's share of its time, where that was asked for."""

    @property
    def fps(self) -> float:
        """Frames per second."""
        return 1e3 / self.ms


class Comparison:
    """The table of ``streamcam bench engines``.

    Args:
        config: settings that everything runs with, but for engine and dtype.
        scene: images to run on, over and over.
        rounds: turns of each candidate.
        deadline: monotonic time after which no other candidate is made.
        report: called with each line of progress while engines are built.
        tunes: whether to search longer for fast kernels.

    Raises:
        EngineError: `config` asks for float8 or int8, which cannot run here.
    """

    def __init__(
        self,
        config: Config,
        scene: Sequence[Image],
        *,
        rounds: int,
        deadline: float = float("inf"),
        report: Report = no_report,
        tunes: bool = False,
    ) -> None:
        self._config = config
        self._scene = scene
        self._rounds = rounds
        self._deadline = deadline
        self._report = report
        self._tunes = tunes
        self._device = pick_device(config.device)
        self._calls = CALLS_ON_GPU if self._device.type == "cuda" else CALLS
        dtype = pick_dtype(config.dtype, self._device)
        asked_for = dtype
        if dtype in (FLOAT8, INT8):
            # They have lines of their own, next to the dtype that the rest is in.
            dtype = place(config).weights_dtype
        self._dtype = name_of(dtype)
        self._reports: list[str] = []
        self._engines = [(name, self._dtype) for name in ENGINES]
        self._engines.append((float8_engine(), name_of(FLOAT8)))
        if asked_for == INT8:  # Its build takes a minute.
            self._engines.append(("openvino", name_of(INT8)))
        self.left_out: list[str] = []
        """Candidates that cannot run here, each with the reason."""

    def restrict_to(self, engine: str) -> None:
        """Leave out all engines but one, which runs in the dtype of the settings."""
        self._engines = [pair for pair in self._engines if pair == (engine, self._dtype)]

    def results(self) -> list[Result]:
        """Run all candidates in turns, and return the lines."""
        lines: list[Result] = self._results(self._makers(), profiled=False)
        return lines

    def streams(self, engines: Sequence[str], candidates: Mapping[str, Maker]) -> list[Result]:
        """Return a line for the whole stream on each engine, and for all `candidates`.

        Each has its `DeviceUse`. Baselines are eager, and those of `candidates` that say so.
        """
        own = {engine: partial(self._stream_on, engine, self._config) for engine in engines}
        lines: list[Result] = self._results((*own.items(), *candidates.items()), profiled=True)
        return lines

    @torch.inference_mode()
    def _results(self, makers: Iterable[tuple[str, Maker]], *, profiled: bool) -> list[Result]:
        made = (candidate for name, make in makers for candidate in self._make(name, make))
        candidates = self._measure(made)
        if not candidates:
            return []
        baselines = [c for c in candidates if c.is_baseline] or candidates[:1]
        rates = {c.dtype: self._matrix_rate(c.dtype) for c in candidates}
        flops = self._flops_per_frame()
        return [
            Result(
                candidate.name,
                ms=1e3 * candidate.median_s,
                latency_ms=1e3 * candidate.median_s * candidate.frames * candidate.calls_in_flight,
                memory=candidate.memory,
                share=flops / candidate.median_s / rates[candidate.dtype],
                ratios={base.name: median_speedup(base, candidate) for base in baselines},
                over_bare=median_speedup(candidate, candidate.bare) if candidate.bare else None,
                use=device_use(candidate, self._device) if profiled else None,
            )
            for candidate in candidates
        ]

    @torch.inference_mode()
    def speeds(self, engines: Sequence[str]) -> dict[str, float]:
        """Return the milliseconds per frame of the whole stream on each engine that runs here."""
        made = (
            candidate
            for engine in engines
            for candidate in self._make(engine, partial(self._stream_on, engine, self._config))
        )
        return {c.name: 1e3 * c.median_s for c in self._measure(made)}

    @torch.inference_mode()
    def speedup(self, engine: str, config: Config, over: Config) -> float | None:
        """Return how many times as fast the settings `config` are as `over`, on one engine.

        None where it cannot run, or the time was over; `left_out` then has the reason.
        """
        made: list[Candidate] = []
        for settings in (over, config):
            made += self._make(engine, partial(self._stream_on, engine, settings))
        if len(made) < 2:
            return None
        slow, fast = self._measure(made)
        return median_speedup(slow, fast)

    def _measure(self, made: Iterable[Candidate]) -> list[Candidate]:
        """Run all candidates in turns, and return them with their times."""
        candidates = list(made)
        for candidate in candidates:
            _warm_up(candidate)
        for _ in range(self._rounds):
            for candidate in candidates:
                candidate.seconds.append(self._seconds_per_frame(candidate))
        return candidates

    def _makers(self) -> Iterator[tuple[str, Maker]]:
        dtypes = list(dict.fromkeys(("float32", self._dtype)))
        for dtype in dtypes:
            yield "diffusers' pipeline", partial(self._baseline, dtype)
        for engine, dtype in (*(("eager", dtype) for dtype in dtypes), *self._engines):
            yield f"{engine} {dtype}", partial(self._engine, engine, dtype)
        yield "sequential steps", self._sequential

    def _make(self, name: str, make: Maker) -> list[Candidate]:
        """Return what `make` returns, warmed up; if it cannot run, note that and return none."""
        if time.monotonic() > self._deadline:
            self.left_out.append(f"{name}: the time was over")
            return []
        before = self._memory()
        self._reports.clear()
        try:
            made = make()
            for candidate in made:
                _warm_up(candidate, calls=1)
                candidate.memory = max(0, self._memory() - before)
        except StreamcamError as error:
            self.left_out.append(f"{name}: {error}")
            return []
        # What runs in place of an engine is not that engine.
        failures = [line for line in self._reports if any(part in line for part in FAILURES)]
        self.left_out += failures
        return [] if failures else made

    def _load(self, config: Config, engine: str, dtype: str) -> tuple[Config, ImageModel]:
        config = changed(config, acceleration=engine, dtype=dtype)
        return config, load_image_model(
            config,
            self._record,
            builds_here=True,
            tunes=self._tunes,
            rehearse=StreamRehearsal,
        )

    def _record(self, line: str) -> None:
        self._reports.append(line)
        self._report(line)

    def _baseline(self, dtype: str) -> list[Candidate]:
        return [diffusers_candidate(self._config, self._scene, dtype, self._device)]

    def _stream_on(self, engine: str, config: Config) -> list[Candidate]:
        """Return the stream of `config` on an engine, under the engine's name."""
        config, models = self._load(config, engine, self._dtype)
        f, n = config.frame_buffer_size, config.num_steps
        step = self._stream_step(config, models)
        is_eager = engine == EAGER
        return [Candidate(engine, step, f, n, dtype_of(self._dtype), is_baseline=is_eager)]

    def _engine(self, engine: str, dtype: str) -> list[Candidate]:
        """Return the bare model calls on an engine, and the stream on it."""
        config, models = self._load(self._config, engine, dtype)
        calls = bare_calls(config, models, self._scene)
        stream = self._stream_step(config, models)
        f, n = config.frame_buffer_size, config.num_steps
        name, torch_dtype = f"{engine} {dtype}", dtype_of(dtype)
        bare = Candidate(f"{name}: bare model calls", calls, f, 1, torch_dtype)
        return [bare, Candidate(f"{name}: streamcam", stream, f, n, torch_dtype, bare=bare)]

    def _sequential(self) -> list[Candidate]:
        """Return the eager stream without Stream Batch."""
        config, models = self._load(self._config, "eager", self._dtype)
        step = self._stream_step(changed(config, use_denoising_batch=False), models)
        name = f"eager {self._dtype}: sequential steps"
        return [Candidate(name, step, config.frame_buffer_size, 1, dtype_of(self._dtype))]

    def _stream_step(self, config: Config, models: ImageModel) -> Callable[[], object]:
        # As on air: a GPU is never waited for while there is something else for it to do.
        stream, frames = DiffusionStream(models, config, ahead=True), iter_frames(self._scene)

        def step() -> None:
            for _ in range(config.frame_buffer_size):
                stream(next(frames), config.live)

        return step

    def _seconds_per_frame(self, candidate: Candidate) -> float:
        # As on air: the caches hold what this candidate left in them, not the one before it.
        candidate.step()
        synchronize(self._device)
        started_at = time.perf_counter()
        for _ in range(self._calls):
            candidate.step()
        synchronize(self._device)
        return (time.perf_counter() - started_at) / (self._calls * candidate.frames)

    def _matrix_rate(self, dtype: torch.dtype) -> float:
        # torch has no fast product in int8 for all CPUs.
        return matrix_rate(self._device, torch.float32 if dtype == INT8 else dtype)

    def _memory(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.memory_reserved(self._device)
        return int(psutil.Process().memory_info().rss)

    def _flops_per_frame(self) -> float:
        """Return the floating-point operations that a frame takes."""
        config, models = self._load(self._config, "eager", "float32")
        step = bare_calls(config, models, self._scene)
        with FlopCounterMode(display=False) as counter:
            step()
        return float(counter.get_total_flops()) / config.frame_buffer_size


def _warm_up(candidate: Candidate, calls: int | None = None) -> None:
    """Make `calls` calls; by default at least `WARM_CALLS`, for at least `WARM_S` seconds."""
    end = time.monotonic() + WARM_S
    made = 0
    while made < (calls or WARM_CALLS) or (not calls and time.monotonic() < end):
        candidate.step()
        made += 1


def measure_engines(config: Config, report: Report, *, tunes: bool = False) -> None:
    """Build every engine that ``auto`` may take, and save in the store how fast each one is.

    They take turns at the whole stream, with as many threads as on air. With `tunes`, each is
    tuned before.

    Raises:
        StreamcamError: no engine runs here, or the store cannot be written to.
    """
    device, dtype, _ = place(config)
    cores = available_cores()
    on_air = {"threads": config.threads or max(1, cores - 1), "warmup": 1}
    scene = [np.full((config.height, config.width, 3), level, np.uint8) for level in LEVELS]
    comparison = Comparison(
        config.model_copy(update=on_air), scene, rounds=ROUNDS, report=report, tunes=tunes
    )
    speeds = comparison.speeds(FASTEST.get(device.type, ()))
    for why in comparison.left_out:
        report(f"left out: {why}")
    if not speeds:
        raise EngineError("no engine runs here; choose --acceleration eager")
    save_timings(Store(config.engine_dir), timings_key(config, device, dtype), speeds)
    report(str(place(config)))
