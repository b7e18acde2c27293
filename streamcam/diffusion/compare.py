"""All ways to run the same weights, in one run: engines, their limits, and a peer."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from streamcam.accelerate.choice import ENGINES
from streamcam.config import Config
from streamcam.diffusion.checkpoint import load_pipeline
from streamcam.diffusion.devices import pick_device, pick_dtype
from streamcam.diffusion.harness import bare_calls, changed, iter_frames, quiet
from streamcam.diffusion.models import Models, load_models
from streamcam.diffusion.stream import DiffusionStream
from streamcam.errors import StreamcamError
from streamcam.types import Image

SIDE = 2048
"""Of the matrices whose product tells the device's own rate."""
WARM_S, WARM_CALLS = 1.0, 3


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
    ratio: float
    """Times as fast as the first line, round by round."""

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
    memory: int = 0
    seconds: list[float] = field(default_factory=list)


class Comparison:
    """The table of ``streamcam bench engines``."""

    def __init__(self, config: Config, scene: Sequence[Image], *, rounds: int) -> None:
        self._config = config
        self._scene = scene
        self._rounds = rounds
        self._device = pick_device(config.device)
        self.engines = tuple(ENGINES)
        self.left_out: list[str] = []
        """What cannot run here, and why."""

    @torch.inference_mode()
    def standings(self) -> list[Standing]:
        """Run everything in turns, and return the lines."""
        contenders = list(self._contenders())
        for contender in contenders:
            _warm(contender)
        for _ in range(self._rounds):
            for contender in contenders:
                contender.seconds.append(self._timed(contender))
        rates = {c.dtype: matrix_rate(self._device, c.dtype) for c in contenders}
        work = self._work()
        first = contenders[0].seconds
        return [
            Standing(
                contender.name,
                ms=1e3 * (median := statistics.median(contender.seconds)),
                latency_ms=1e3 * median * contender.frames * contender.calls_in_flight,
                memory=contender.memory,
                share=work / median / rates[contender.dtype],
                ratio=statistics.median(
                    a / b for a, b in zip(first, contender.seconds, strict=True)
                ),
            )
            for contender in contenders
        ]

    def _contenders(self) -> Iterator[Contender]:
        yield from self._each(self._peer)
        for acceleration, dtype in self._ways():
            yield from self._each(lambda a=acceleration, d=dtype: self._way(a, d))  # type: ignore[misc]
        yield from self._each(self._sequential)

    def _each(self, make: Callable[[], list[Contender]]) -> list[Contender]:
        before = self._memory()
        try:
            made = make()
        except StreamcamError as error:
            self.left_out.append(str(error))
            return []
        for contender in made:
            _warm(contender, calls=1)
            contender.memory = max(0, self._memory() - before)
        return made

    def _ways(self) -> list[tuple[str, str]]:
        usual = str(pick_dtype(self._config.dtype, self._device)).removeprefix("torch.")
        engines = [(name, usual) for name in self.engines]
        return [("eager", "float32"), *([("eager", usual)] if usual != "float32" else []), *engines]

    def _load(self, acceleration: str, dtype: str) -> tuple[Config, Models]:
        config = changed(self._config, acceleration=acceleration, dtype=dtype)
        return config, load_models(config, quiet, builds_here=True)

    def _way(self, acceleration: str, dtype: str) -> list[Contender]:
        """Return the bare model calls of an engine, and the stream on it."""
        config, models = self._load(acceleration, dtype)
        kind: torch.dtype = getattr(torch, dtype)
        bare = bare_calls(config, models, self._scene)
        stream = self._stream(config, models)
        f, n = config.frame_buffer_size, config.num_steps
        return [
            Contender(f"{acceleration} {dtype}: bare model calls", bare, f, 1, kind),
            Contender(f"{acceleration} {dtype}: streamcam", stream, f, n, kind),
        ]

    def _sequential(self) -> list[Contender]:
        """Return the usual way without Stream Batch."""
        usual = str(pick_dtype(self._config.dtype, self._device)).removeprefix("torch.")
        config, models = self._load("eager", usual)
        one_by_one = changed(config, use_denoising_batch=False)
        step = self._stream(one_by_one, models)
        name = f"eager {usual}: sequential steps"
        return [Contender(name, step, config.frame_buffer_size, 1, getattr(torch, usual))]

    def _stream(self, config: Config, models: Models) -> Callable[[], object]:
        stream, frames = DiffusionStream(models, config), iter_frames(self._scene)

        def step() -> None:
            for _ in range(config.frame_buffer_size):
                stream(next(frames), config.live)

        return step

    def _peer(self) -> list[Contender]:
        """Return diffusers' own image-to-image pipeline on the same weights."""
        dtype = pick_dtype(self._config.dtype, self._device)
        pipe = load_pipeline(self._config, dtype, quiet).to(self._device)
        from diffusers import AutoPipelineForImage2Image, LCMScheduler

        pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
        peer = AutoPipelineForImage2Image.from_pipe(pipe)
        peer.set_progress_bar_config(disable=True)
        frames, n = iter_frames(self._scene), self._config.num_steps
        usual = str(dtype).removeprefix("torch.")

        def step() -> Any:
            # Half the strength of twice the steps: n steps are made.
            picture = peer.image_processor.numpy_to_pil(next(frames).image[None] / 255)[0]
            return peer(
                prompt="a lake",
                image=picture,
                strength=0.5,
                num_inference_steps=2 * n,
                guidance_scale=1.0,
                output_type="np",
            )

        return [Contender(f"diffusers' pipeline, eager {usual}", step, 1, 1, dtype)]

    def _timed(self, contender: Contender) -> float:
        self._settle()
        began = time.perf_counter()
        contender.step()
        self._settle()
        return (time.perf_counter() - began) / contender.frames

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


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second that `device` reaches in a matrix product."""
    a, b = (torch.randn(SIDE, SIDE, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        product = a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    assert product.shape == (SIDE, SIDE)
    return 2 * SIDE**3 / best


def _warm(contender: Contender, calls: int | None = None) -> None:
    end = time.monotonic() + WARM_S
    made = 0
    while made < (calls or WARM_CALLS) or (not calls and time.monotonic() < end):
        contender.step()
        made += 1
