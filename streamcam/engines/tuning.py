"""Tuning: search longer for faster kernels, and keep what is found where it is measured to pay."""

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from streamcam.engines.accuracy import check_accuracy
from streamcam.engines.build_progress import BuildProgress
from streamcam.engines.cuda_graph import CudaCapture
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.engines.store import Entry, Store

MIN_SPEEDUP = 1.02
"""Of a tuned engine over the one before, to take its place."""
ROUNDS, CALLS = 15, 5

Load = Callable[[Path], FlatForward]


@runtime_checkable
class Tunable(Protocol):
    """An engine that can be built with a longer search for fast kernels."""

    dtype: torch.dtype

    def build_tuned(self, flat: FlatStage, inputs: Sequence[Tensor], folder: Path) -> None:
        """Write files as ``Engine.build`` does, taking minutes longer."""


class NotFasterError(Exception):
    """A tuned engine that is not worth keeping; `speedup` is the factor measured."""

    def __init__(self, speedup: float) -> None:
        super().__init__(speedup)
        self.speedup = speedup


def tune(
    engine: Tunable,
    load: Load,
    flat: FlatStage,
    inputs: Sequence[Tensor],
    entry: Entry,
    store: Store,
    progress: BuildProgress,
) -> float:
    """Build `entry` again, tuned, and let it take its place; return how many times as fast it is.

    Args:
        engine: that `entry` is of.
        load: returns the engine in a folder, ready to run.
        flat: the stage.
        inputs: of a call.
        entry: the engine before.
        store: that holds it.
        progress: takes each step.

    Raises:
        NotFasterError: it is not worth it on this device, or the device was too busy to tell; the
            engine before stays.
        AccuracyError: the tuned engine is not accurate enough; the engine before stays.
        Exception: whatever the library raises over what it cannot build.
    """
    manifest: dict[str, Any] = {"identity": entry.manifest["identity"]}
    with store.create(entry.key, manifest, replaces=True) as folder:
        engine.build_tuned(flat, inputs, folder)
        progress.step("measuring its accuracy")
        tuned = load(folder)
        manifest["psnr"] = check_accuracy(tuned, flat, inputs, engine.dtype)
        progress.step("measuring its speed")
        speedup = measure_speedup(load(entry.folder), tuned, inputs)
        if speedup < MIN_SPEEDUP:
            raise NotFasterError(speedup)
        manifest["tuned"] = round(speedup, 2)
    return speedup


def measure_speedup(before: FlatForward, after: FlatForward, inputs: Sequence[Tensor]) -> float:
    """Return how many times as fast `after` is, measured in turns on this device."""
    device = inputs[0].device
    calls: list[Callable[[], None]] = [partial(_run, run, inputs) for run in (before, after)]
    with torch.inference_mode():
        for call in calls:
            call()  # The first call of an engine is slow.
        if device.type == "cuda":
            # As on air: launching the kernels one by one would take longer than running them.
            capture = CudaCapture(device)
            calls = [capture(call) for call in calls]
        ratios = []
        for _ in range(ROUNDS):
            first, second = (_seconds(call, device) for call in calls)
            ratios.append(first / second)
    return statistics.median(ratios)


def _run(run: FlatForward, inputs: Sequence[Tensor]) -> None:
    run(*inputs)


def _seconds(call: Callable[[], None], device: torch.device) -> float:
    _synchronize(device)
    started_at = time.perf_counter()
    for _ in range(CALLS):
        call()
    _synchronize(device)
    return time.perf_counter() - started_at


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
