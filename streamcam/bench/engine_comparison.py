"""All ways to run the same weights, in one run: engines, their limits, and a peer."""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from streamcam.bench.harness import bare_calls, changed, iter_frames, matrix_rate, quiet
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.dtypes import FLOAT8, dtype_of, name_of
from streamcam.engines.placement import pick_device, pick_dtype, place, timings_key
from streamcam.engines.selection import ENGINES, FASTEST
from streamcam.engines.store import Store
from streamcam.engines.timings import save_timings
from streamcam.errors import EngineError, StreamcamError
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.families import Report
from streamcam.settings.config import Config
from streamcam.types import Image

WARM_S, WARM_CALLS = 1.0, 3
ROUNDS = 21
LEVELS = (0, 85, 170, 255)
"""Of the pictures that engines are measured on, no two alike for the similarity filter."""
CALLS, CALLS_ON_CARD = 3, 8
"""That are timed in a turn; a card works on while the processor prepares the next one."""
TROUBLE = ("is refused", "cannot be", "there is no")
"""What is said of an engine that does not run, though the stage does."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One line of the table; times are medians over all rounds."""

    name: str
    ms: float
    """Per frame."""
    latency_ms: float
    """From a frame's entry to its picture: every step of a stream batch is a frame's time."""
    memory: int
    """Bytes that this way added: of the device, or of the process on a processor."""
    share: float
    """Of the device's own matrix rate, in the same number format."""
    ratios: Mapping[str, float]
    """Times as fast as each line of the peer, round by round; without a peer, as the first line."""
    over_bare: float | None
    """The time over that of the bare model calls, round by round; None where these are no line."""

    @property
    def fps(self) -> float:
        """Return frames per second."""
        return 1e3 / self.ms


@dataclass(slots=True)
class Contender:
    """One way to run, timed a frame at a time so that all share the machine's noise."""

    name: str
    step: Callable[[], object]
    """Runs one call, of `frames` frames."""
    frames: int
    calls_in_flight: int
    dtype: torch.dtype
    is_peer: bool = False
    bare: "Contender | None" = None
    """The bare model calls that this way adds to."""
    memory: int = 0
    seconds: list[float] = field(default_factory=list)


class Comparison:
    """The table of ``streamcam bench engines``."""

    def __init__(
        self,
        config: Config,
        scene: Sequence[Image],
        *,
        rounds: int,
        until: float = float("inf"),
        report: Report = quiet,
    ) -> None:
        """Take the settings to compare in, and the monotonic time to begin nothing new after.

        `report` is told how engines are built.

        Raises:
            EngineError: float8 is asked for, and cannot run here.
        """
        self._config = config
        self._scene = scene
        self._rounds = rounds
        self._until = until
        self._device = pick_device(config.device)
        self._calls = CALLS_ON_CARD if self._device.type == "cuda" else CALLS
        usual = pick_dtype(config.dtype, self._device)
        if usual == FLOAT8:
            # It has a line of its own, beside the format that its other stages are in.
            usual = place(config).weights_dtype
        self._usual = name_of(usual)
        self._said: list[str] = []
        self._report = report
        self._ways = [(name, self._usual) for name in ENGINES] + [("tensorrt", name_of(FLOAT8))]
        self.left_out: list[str] = []
        """What cannot run here, and why."""

    def keep_to(self, acceleration: str) -> None:
        """Leave out all engines but one, in the usual number format."""
        self._ways = [way for way in self._ways if way == (acceleration, self._usual)]

    @torch.inference_mode()
    def standings(self) -> list[Standing]:
        """Run everything in turns, and return the lines."""
        contenders = self._measured(self._contenders())
        if not contenders:
            return []
        peers = [c for c in contenders if c.is_peer] or contenders[:1]
        rates = {c.dtype: matrix_rate(self._device, c.dtype) for c in contenders}
        work = self._work()
        return [
            Standing(
                contender.name,
                ms=1e3 * (median := statistics.median(contender.seconds)),
                latency_ms=1e3 * median * contender.frames * contender.calls_in_flight,
                memory=contender.memory,
                share=work / median / rates[contender.dtype],
                ratios={peer.name: quicker(peer, contender) for peer in peers},
                over_bare=quicker(contender, contender.bare) if contender.bare else None,
            )
            for contender in contenders
        ]

    @torch.inference_mode()
    def speeds(self, engines: Sequence[str]) -> dict[str, float]:
        """Return the milliseconds a frame of the whole stream on each engine that runs here."""
        made = (
            contender
            for name in engines
            for contender in self._each(name, partial(self._streamed, name, self._usual))
        )
        return {c.name: 1e3 * statistics.median(c.seconds) for c in self._measured(made)}

    @torch.inference_mode()
    def versus(self, acceleration: str, ours: Config, others: Config) -> float | None:
        """Return how many times as fast one set of settings is as another, on one engine."""
        made: list[Contender] = []
        for config in (others, ours):
            make = partial(self._streamed, acceleration, self._usual, config)
            made += self._each(acceleration, make)
        if len(made) < 2:
            return None
        slow, fast = self._measured(made)
        return quicker(slow, fast)

    def _measured(self, made: Iterable[Contender]) -> list[Contender]:
        """Run all in turns."""
        contenders = list(made)
        for contender in contenders:
            _warm(contender)
        for _ in range(self._rounds):
            for contender in contenders:
                contender.seconds.append(self._timed(contender))
        return contenders

    def _contenders(self) -> Iterator[Contender]:
        for dtype in dict.fromkeys(("float32", self._usual)):
            yield from self._each("diffusers' pipeline", partial(self._peer, dtype))
        eager = [("eager", dtype) for dtype in dict.fromkeys(("float32", self._usual))]
        for acceleration, dtype in (*eager, *self._ways):
            name = f"{acceleration} {dtype}"
            yield from self._each(name, partial(self._way, acceleration, dtype))
        yield from self._each("sequential steps", self._sequential)

    def _each(self, name: str, make: Callable[[], list[Contender]]) -> list[Contender]:
        """Return what `make` gives, warm; nothing where that cannot run, which is noted."""
        if time.monotonic() > self._until:
            self.left_out.append(f"{name}: the time was over")
            return []
        before = self._memory()
        self._said.clear()
        try:
            made = make()
            for contender in made:
                _warm(contender, calls=1)
                contender.memory = max(0, self._memory() - before)
        except StreamcamError as error:
            self.left_out.append(f"{name}: {error}")
            return []
        # What runs in an engine's place is not that engine.
        trouble = [line for line in self._said if any(words in line for words in TROUBLE)]
        self.left_out += trouble
        return [] if trouble else made

    def _load(self, acceleration: str, dtype: str) -> tuple[Config, ImageModel]:
        config = changed(self._config, acceleration=acceleration, dtype=dtype)
        return config, load_image_model(config, self._hear, builds_here=True)

    def _hear(self, line: str) -> None:
        self._said.append(line)
        self._report(line)

    def _streamed(
        self, acceleration: str, dtype: str, config: Config | None = None
    ) -> list[Contender]:
        """Return the stream on an engine alone, under its name."""
        config = changed(config or self._config, acceleration=acceleration, dtype=dtype)
        models = load_image_model(config, self._hear, builds_here=True)
        f, n = config.frame_buffer_size, config.num_steps
        step = self._stream(config, models)
        return [Contender(acceleration, step, f, n, dtype_of(dtype))]

    def _way(self, acceleration: str, dtype: str) -> list[Contender]:
        """Return the bare model calls of an engine, and the stream on it."""
        config, models = self._load(acceleration, dtype)
        kind = dtype_of(dtype)
        calls = bare_calls(config, models, self._scene)
        stream = self._stream(config, models)
        f, n = config.frame_buffer_size, config.num_steps
        name = f"{acceleration} {dtype}"
        bare = Contender(f"{name}: bare model calls", calls, f, 1, kind)
        return [bare, Contender(f"{name}: streamcam", stream, f, n, kind, bare=bare)]

    def _sequential(self) -> list[Contender]:
        """Return the usual way without Stream Batch."""
        usual = self._usual
        config, models = self._load("eager", usual)
        one_by_one = changed(config, use_denoising_batch=False)
        step = self._stream(one_by_one, models)
        name = f"eager {usual}: sequential steps"
        return [Contender(name, step, config.frame_buffer_size, 1, dtype_of(usual))]

    def _stream(self, config: Config, models: ImageModel) -> Callable[[], object]:
        # As on air: a card is never waited for while there is something to ask of it.
        stream, frames = DiffusionStream(models, config, ahead=True), iter_frames(self._scene)

        def step() -> None:
            for _ in range(config.frame_buffer_size):
                stream(next(frames), config.live)

        return step

    def _peer(self, dtype: str) -> list[Contender]:
        """Return diffusers' own image-to-image pipeline on the same weights; float32 is its own.

        It is guided as much as the stream is, in the one way that it has.
        """
        kind = dtype_of(dtype)
        pipe = load_pipeline(self._config, kind, quiet).to(self._device)
        from diffusers import AutoPipelineForImage2Image, LCMScheduler

        pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
        peer = AutoPipelineForImage2Image.from_pipe(pipe)
        peer.set_progress_bar_config(disable=True)
        frames, n = iter_frames(self._scene), self._config.num_steps
        guided = self._config.cfg_type != "none"
        guidance_scale = self._config.live.guidance_scale if guided else 1.0

        def step() -> Any:
            # Half the strength of twice the steps: n steps are made.
            picture = peer.image_processor.numpy_to_pil(next(frames).image[None] / 255)[0]
            return peer(
                prompt="a lake",
                image=picture,
                strength=0.5,
                num_inference_steps=2 * n,
                guidance_scale=guidance_scale,
                output_type="np",
            )

        return [Contender(f"diffusers' pipeline {dtype}", step, 1, 1, kind, is_peer=True)]

    def _timed(self, contender: Contender) -> float:
        # As on air: what fills the caches is what this way left in them, not the one before it.
        contender.step()
        self._settle()
        began = time.perf_counter()
        for _ in range(self._calls):
            contender.step()
        self._settle()
        return (time.perf_counter() - began) / (self._calls * contender.frames)

    def _settle(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _memory(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.memory_reserved(self._device)
        return int(psutil.Process().memory_info().rss)

    def _work(self) -> float:
        """Return the floating-point operations that a frame takes."""
        config, models = self._load("eager", "float32")
        step = bare_calls(config, models, self._scene)
        with FlopCounterMode(display=False) as counter:
            step()
        return float(counter.get_total_flops()) / config.frame_buffer_size


def quicker(slow: Contender, fast: Contender) -> float:
    """Return how many times as fast `fast` is, as the median over the rounds."""
    return statistics.median(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True))


def _warm(contender: Contender, calls: int | None = None) -> None:
    end = time.monotonic() + WARM_S
    made = 0
    while made < (calls or WARM_CALLS) or (not calls and time.monotonic() < end):
        contender.step()
        made += 1


def measure_engines(config: Config, report: Report) -> None:
    """Have every engine that ``auto`` may take in the store, and which is the fastest.

    They take turns at the whole stream, with as many threads as on air.

    Raises:
        StreamcamError: no engine runs here, or the store cannot be written to.
    """
    device, dtype, _ = place(config)
    names = FASTEST.get(device.type, ())
    cores = os.cpu_count() or 1
    changes = {"threads": config.threads or max(1, cores - 1), "warmup": 1}
    scene = [np.full((config.height, config.width, 3), level, np.uint8) for level in LEVELS]
    told = config.model_copy(update=changes)
    comparison = Comparison(told, scene, rounds=ROUNDS, report=report)
    speeds = comparison.speeds(names)
    for why in comparison.left_out:
        report(f"left out: {why}")
    if not speeds:
        raise EngineError("no engine runs here; choose --acceleration eager")
    save_timings(Store(config.engine_dir), timings_key(config, device, dtype), speeds)
    report(str(place(config)))
