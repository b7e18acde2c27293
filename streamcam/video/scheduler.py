"""SLO-aware scheduler (arXiv 2511.07399): keep a frame rate and a deadline by measured latencies.

Of the ways to run that were measured, it chooses one that keeps the target rate and the deadline of
every frame, with as many denoising steps as possible, then with the least latency. Input waits in a
bounded queue. Frames are dropped, and counted, for three reasons:

- *full*: the queue was full, and the oldest frame made room;
- *late*: its output would have missed its deadline;
- *skipped*: the model does not keep up with the camera, so it takes frames evenly spread over
  those that wait. A model that keeps up takes them all.

Times are seconds on any one clock; nothing here reads one.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from statistics import fmean
from typing import Generic, NamedTuple, TypeVar

from streamcam.errors import ConfigError
from streamcam.video.delivery_stats import DeliveryStats

T = TypeVar("T")

FRAMES_PER_LATENT = 4
RECENT_CALLS = 15
STALLS = 2
"""Of the recent calls, how many may stall without a change of choice."""
RECENT_FRAMES = 128
MIN_FRAMES = 16
"""From this many frames on, the camera's rate counts as known."""


class Choice(NamedTuple):
    """A way to run the model."""

    chunk: int
    """Latent frames in one call, of four camera frames each."""
    steps: int
    """Denoising steps, 1 to 4."""
    batched: bool
    """Whether steps of successive chunks run as one call; else those of a chunk run in sequence."""

    @property
    def frames(self) -> int:
        """Camera frames that a call takes."""
        return FRAMES_PER_LATENT * self.chunk

    @property
    def calls(self) -> int:
        """Calls from taking a chunk to returning its output, both included."""
        return self.steps if self.batched else 1


LatencyTable = Mapping[Choice, float]
"""Seconds that most calls (say 95 of 100) take at most, encoder and decoder included.

Choices that do not fit in memory are left out.
"""


@dataclass(frozen=True, slots=True)
class Objective:
    """Service-level objective of the stream."""

    target_fps: float = 16.0
    """Frames per second; of a slower camera, no more than it has."""
    deadline_s: float = 1.0
    """Seconds from the capture of a frame to its output."""
    capacity: int = 24
    """Frames that may wait."""
    hysteresis: float = 0.1
    """Fraction by which another choice must be faster than the one in use."""
    pipeline_depth: int = 1
    """Calls that a step of a stream batch takes: one for each device."""


def latency(choice: Choice, seconds: float, interval: float, pipeline_depth: int = 1) -> float:
    """Return the longest wait of a chunk's oldest frame for its output, in seconds.

    Args:
        choice: how the model runs.
        seconds: of a call.
        interval: seconds between two frames of the camera.
        pipeline_depth: calls that a step of a stream batch takes.
    """
    wait = max(seconds, (choice.frames - 1) * interval)
    return wait + service_time(choice, seconds, interval, pipeline_depth)


def service_time(choice: Choice, seconds: float, interval: float, pipeline_depth: int = 1) -> float:
    """Return the seconds from the call that takes a chunk until its output is there."""
    period = max(seconds, choice.frames * interval)
    calls = choice.calls * pipeline_depth if choice.batched else 1
    return (calls - 1) * period + seconds


def choose(
    table: LatencyTable,
    objective: Objective,
    interval: float,
    *,
    slowdown: float = 1.0,
    current: Choice | None = None,
) -> Choice:
    """Return the choice that meets the objective best.

    Where none keeps both rate and deadline, it is the fastest that keeps the deadline; where
    none keeps the deadline, the least late.

    Args:
        table: seconds of a call of each choice.
        objective: rate, deadline and hysteresis.
        interval: seconds between two frames of the camera.
        slowdown: ratio of current seconds to those of the table.
        current: the choice in use.
    """
    fps_needed = min(objective.target_fps, 1 / interval)

    def score(choice: Choice) -> tuple[float, ...]:
        margin = 1.0 if choice == current else 1 + objective.hysteresis
        seconds = table[choice] * slowdown * margin
        delay, fps = (
            latency(choice, seconds, interval, objective.pipeline_depth),
            choice.frames / seconds,
        )
        if delay > objective.deadline_s:
            return 0, -delay
        return (2, choice.steps, -delay) if fps >= fps_needed else (1, fps)

    return max(table, key=score)


class Job(NamedTuple, Generic[T]):
    """Frames of a chunk to run now, and how."""

    frames: list[T]
    choice: Choice


class Scheduler(Generic[T]):
    """Queues frames and returns chunks to run; the caller runs them and reports back.

    At most `Objective.capacity` frames wait. As long as frames come, chunks run: between two chunks
    at most one chunk's frames are dropped as late, apart from those that the queue holds beyond a
    chunk.

    Raises:
        ConfigError: nothing was measured, or the queue cannot hold the longest chunk.
    """

    def __init__(self, table: LatencyTable, objective: Objective) -> None:
        longest = 1 + max((choice.frames for choice in table), default=0)
        if not table:
            raise ConfigError("no latencies were measured: measure the model first")
        if objective.capacity < longest:
            raise ConfigError(
                f"an input queue of {objective.capacity} frames cannot hold the longest chunk:"
                f" allow at least {longest}, or shorter chunks"
            )
        self.table, self.objective, self.stats = dict(table), objective, DeliveryStats()
        self.choice = choose(self.table, objective, 1 / objective.target_fps)
        self._waiting: deque[tuple[float, T]] = deque()
        self._newest = inf
        self._intervals: deque[float] = deque(maxlen=RECENT_FRAMES)
        self._slowdowns: deque[float] = deque(maxlen=RECENT_CALLS)
        self._starving_drops = 0

    def __len__(self) -> int:
        """Return the number of frames that wait."""
        return len(self._waiting)

    @property
    def interval(self) -> float:
        """Seconds between the camera's frames; those of the target rate until enough have come."""
        total = sum(self._intervals) if len(self._intervals) >= MIN_FRAMES else 0.0
        return total / len(self._intervals) if total > 0 else 1 / self.objective.target_fps

    @property
    def slowdown(self) -> float:
        """Mean ratio of recent seconds to those of the table, without the worst few calls.

        So single stalls count for nothing, but a device that stalls again and again is a slow one.
        """
        ordinary = sorted(self._slowdowns)[: max(1, len(self._slowdowns) - STALLS)]
        return fmean(ordinary) if ordinary else 1.0

    def put(self, frame: T, captured_at: float) -> None:
        """Add the newest frame; a full queue drops its oldest."""
        interval, self._newest = captured_at - self._newest, captured_at
        if 0 <= interval <= self.objective.deadline_s:  # A pause is no measure of the rate.
            self._intervals.append(interval)
        if len(self._waiting) == self.objective.capacity:
            self._waiting.popleft()
            self.stats.full += 1
        self._waiting.append((captured_at, frame))

    def take(self, now: float, *, extra: int = 0) -> Job[T] | None:
        """Return the chunk to run at `now`, or None while there are too few frames.

        The choice may differ from that of the last chunk. A stream's first chunk takes `extra`
        frames, or fewer than the others if that is negative.
        """
        interval, slowdown = self.interval, self.slowdown
        self.choice = choose(
            self.table, self.objective, interval, slowdown=slowdown, current=self.choice
        )
        need = self.choice.frames + extra
        seconds = self.table[self.choice] * slowdown
        pipeline_depth = self.objective.pipeline_depth
        if latency(self.choice, seconds, interval, pipeline_depth) <= self.objective.deadline_s:
            self._drop_late(
                now + service_time(self.choice, seconds, interval, pipeline_depth), need
            )
        if len(self._waiting) < need:
            return None
        self._starving_drops = 0
        if self.choice.frames / seconds < 1 / interval:
            self._skip_evenly(need)
        return Job([self._waiting.popleft()[1] for _ in range(need)], self.choice)

    def record_call(self, choice: Choice, seconds: float) -> None:
        """Record the seconds of a call; not of a stream's first chunk, which runs differently."""
        self._slowdowns.append(seconds / self.table[choice])

    def record_delivery(self, captured: Iterable[float], now: float) -> None:
        """Record the frames of a chunk, captured at these times and delivered at `now`."""
        self.stats.deliver(captured, now, self.objective.deadline_s)

    def _drop_late(self, ready_at: float, need: int) -> None:
        """Drop frames whose output would be late, but never so many that no chunk runs."""
        while self._waiting and ready_at - self._waiting[0][0] > self.objective.deadline_s:
            if len(self._waiting) <= need:
                if self._starving_drops == need:
                    return
                self._starving_drops += 1
            self._waiting.popleft()
            self.stats.late += 1

    def _skip_evenly(self, need: int) -> None:
        """Keep `need` frames, evenly spread over those that wait, the newest among them."""
        waiting = list(self._waiting)
        self.stats.skipped += len(waiting) - need
        self._waiting = deque(waiting[(i + 1) * len(waiting) // need - 1] for i in range(need))
