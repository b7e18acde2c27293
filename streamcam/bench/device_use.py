"""Use of a GPU by one frame: launches, CUDA graphs, and the share of the time that it works."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from streamcam.bench.candidates import Candidate
from streamcam.bench.harness import synchronize

CALLS = 4
LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaMemcpy", "cuMemcpy", "cudaMemset", "cuMemset")
"""Beginnings of the names of the calls that start a kernel or a copy."""
GRAPH_LAUNCHES = ("cudaGraphLaunch", "cuGraphLaunch")


@dataclass(frozen=True, slots=True)
class DeviceUse:
    """Use of the device by one frame."""

    launches: float
    """Kernels, copies and graphs that are started; on a CPU, operations that torch dispatches."""
    graphs: float
    """CUDA graphs that it starts, which are among the launches."""
    busy: float | None
    """Share of the time that the GPU computes or copies, 0 to 1; None on a CPU."""
    outside_graphs: float | None
    """Share of the time that no CUDA graph runs, 0 to 1; None on a CPU."""


class ProfiledEvent(NamedTuple):
    """Event of a profile: a call of the CUDA runtime, or work of the GPU."""

    name: str
    on_gpu: bool
    start_ns: int
    duration_ns: int


def device_use(candidate: Candidate, device: torch.device) -> DeviceUse:
    """Return how a frame of `candidate`, which is warmed up, uses `device`."""
    if device.type != "cuda":
        with _OperationCounter() as counter:
            candidate.step()
        return DeviceUse(counter.count / candidate.frames, 0.0, None, None)
    outside_graphs = _share_outside_graphs(candidate.step, device)
    seconds = _seconds(candidate.step, device)
    events = _profiled(candidate.step, device)
    launches, graphs = count_launches(events)
    frames = CALLS * candidate.frames
    busy = busy_ns(events) / 1e9 / seconds
    return DeviceUse(launches / frames, graphs / frames, busy, outside_graphs)


def count_launches(events: Iterable[ProfiledEvent]) -> tuple[int, int]:
    """Return how many launches there are in a profile, and how many of these are graphs."""
    names = [event.name for event in events if not event.on_gpu]
    graphs = sum(name.startswith(GRAPH_LAUNCHES) for name in names)
    return graphs + sum(name.startswith(LAUNCHES) for name in names), graphs


def busy_ns(events: Iterable[ProfiledEvent]) -> int:
    """Return the nanoseconds that the GPU works, on one stream or on several at once."""
    busy = end = 0
    for event in sorted((e for e in events if e.on_gpu), key=lambda e: e.start_ns):
        event_end = event.start_ns + event.duration_ns
        busy += max(0, event_end - max(end, event.start_ns))
        end = max(end, event_end)
    return busy


def _seconds(step: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    started_at = time.perf_counter()
    for _ in range(CALLS):
        step()
    synchronize(device)
    return time.perf_counter() - started_at


def _profiled(step: Callable[[], object], device: torch.device) -> list[ProfiledEvent]:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        _seconds(step, device)
    results: Any = profiler.profiler.kineto_results
    return [
        ProfiledEvent(
            event.name(),
            event.device_type().name == "CUDA",
            event.start_ns(),
            event.duration_ns(),
        )
        for event in results.events()
    ]


def _share_outside_graphs(step: Callable[[], object], device: torch.device) -> float:
    """Return the share of the time in which no graph runs, by events around every replay."""
    with _timed_replays() as replays:
        seconds = _seconds(step, device)
    inside_ms: float = sum(begin.elapsed_time(end) for begin, end in replays)
    return max(0.0, 1 - inside_ms / 1e3 / seconds)


@contextmanager
def _timed_replays() -> Iterator[list[tuple[torch.cuda.Event, torch.cuda.Event]]]:
    """Record an event before and after each replay of a CUDA graph in this process."""
    replays: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
    original = torch.cuda.CUDAGraph.replay

    def replay(graph: torch.cuda.CUDAGraph) -> None:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        original(graph)
        end.record()
        replays.append((begin, end))

    torch.cuda.CUDAGraph.replay = replay  # type: ignore[assignment, method-assign]
    try:
        yield replays
    finally:
        torch.cuda.CUDAGraph.replay = original  # type: ignore[method-assign]


class _OperationCounter(TorchDispatchMode):  # type: ignore[misc]
    """Count the operations that torch dispatches."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))
