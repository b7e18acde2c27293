"""SLO-aware scheduler (arXiv 2511.07399): meet a frame rate and a deadline with what was measured.

Of the ways to run that were measured, one that keeps the target rate and the deadline of every
frame is chosen, with as many denoising steps as possible, then with the least latency. Input waits
in a bounded queue. Frames are given up, and counted, for three reasons:

- *full*: the queue was full, and the oldest made room;
- *late*: its picture would have missed its deadline;
- *skipped*: the model does not keep up with the camera, so it takes frames evenly spread over
  those that wait. One that keeps up takes them all.

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
"""Of the recent calls, as many as may have stalled without another choice being made."""
RECENT_FRAMES = 128
FEWEST_FRAMES = 16
"""From so many frames on the camera's rate counts as known."""


class Choice(NamedTuple):
    """A way to run the model."""

    chunk: int
    """Latent frames in one call, of four camera frames each."""
    steps: int
    """Denoising steps, 1 to 4."""
    batched: bool
    """Whether the steps of successive chunks run as one call, or those of a chunk in turn."""

    @property
    def frames(self) -> int:
        """Camera frames that a call takes."""
        return FRAMES_PER_LATENT * self.chunk

    @property
    def calls(self) -> int:
        """Calls from taking a chunk to giving its pictures, both included."""
        return self.steps if self.batched else 1


LatencyTable = Mapping[Choice, float]
"""The seconds of one call, encoder and decoder included, as most calls keep to (say 95 of 100).

What does not fit the memory is not in it.
"""


@dataclass(frozen=True, slots=True)
class Objective:
    """What the stream is held to (the service-level objective)."""

    target_fps: float = 16.0
    """Pictures per second; a slower camera needs no more than it has frames."""
    deadline_s: float = 1.0
    """From the capture of a frame until its picture is there."""
    capacity: int = 24
    """Frames that may wait."""
    hysteresis: float = 0.1
    """Share by which another choice must be better than the one in use."""
    pipeline_depth: int = 1
    """Calls that a step takes in a stream batch: one for each device that it passes."""


def latency(choice: Choice, seconds: float, interval: float, pipeline_depth: int = 1) -> float:
    """Return the seconds that the oldest frame of a chunk waits for its picture, at the most.

    Args:
        choice: how the model runs.
        seconds: what a call takes.
        interval: between two frames of the camera.
        lag: calls that a step takes in a stream batch.
    """
    wait = max(seconds, (choice.frames - 1) * interval)
    return wait + service(choice, seconds, interval, pipeline_depth)


def service(choice: Choice, seconds: float, interval: float, pipeline_depth: int = 1) -> float:
    """Return the seconds from the call that takes a chunk until its pictures are there."""
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
        table: what calls take.
        objective: rate and deadline, and how reluctantly `current` is left.
        interval: seconds between two frames of the camera.
        slowdown: what calls take now, over what the table says.
        current: the choice in use.
    """
    fps_needed = min(objective.target_fps, 1 / interval)

    def score(choice: Choice) -> tuple[float, ...]:
        doubt = 1.0 if choice == current else 1 + objective.hysteresis
        seconds = table[choice] * slowdown * doubt
        delay, fps = (
            latency(choice, seconds, interval, objective.pipeline_depth),
            choice.frames / seconds,
        )
        if delay > objective.deadline_s:
            return 0, -delay
        return (2, choice.steps, -delay) if fps >= fps_needed else (1, fps)

    return max(table, key=score)


class Job(NamedTuple, Generic[T]):
    """A chunk to run now."""

    frames: list[T]
    choice: Choice


class Scheduler(Generic[T]):
    """Queues frames and gives chunks out; the caller runs them and reports back.

    At most `Objective.capacity` frames wait. As long as frames come, chunks go out: between two of
    them lateness costs at most one chunk's frames, beyond what the queue holds more than that.

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
        """Return how many frames wait."""
        return len(self._waiting)

    @property
    def interval(self) -> float:
        """Seconds between the camera's frames; as the target has it while too few have come."""
        known = sum(self._intervals) if len(self._intervals) >= FEWEST_FRAMES else 0.0
        return known / len(self._intervals) if known > 0 else 1 / self.objective.target_fps

    @property
    def slowdown(self) -> float:
        """What calls take now on average, over what the table says, without the worst few.

        So single stalls count for nothing, but a device that stalls again and again is a slow one.
        """
        ordinary = sorted(self._slowdowns)[: max(1, len(self._slowdowns) - STALLS)]
        return fmean(ordinary) if ordinary else 1.0

    def put(self, frame: T, captured_at: float) -> None:
        """Add the newest frame; when the queue is full the oldest makes room."""
        since, self._newest = captured_at - self._newest, captured_at
        if 0 <= since <= self.objective.deadline_s:  # A pause says nothing of the rate.
            self._intervals.append(since)
        if len(self._waiting) == self.objective.capacity:
            self._waiting.popleft()
            self.stats.full += 1
        self._waiting.append((captured_at, frame))

    def take(self, now: float, *, first: bool = False) -> Job[T] | None:
        """Return the chunk to run at `now`, or None while there are too few frames.

        The choice may differ from that of the last chunk. The `first` chunk of a stream takes one
        frame more.
        """
        interval, slowdown = self.interval, self.slowdown
        self.choice = choose(
            self.table, self.objective, interval, slowdown=slowdown, current=self.choice
        )
        need = self.choice.frames + first
        seconds = self.table[self.choice] * slowdown
        pipeline_depth = self.objective.pipeline_depth
        if latency(self.choice, seconds, interval, pipeline_depth) <= self.objective.deadline_s:
            self._drop_late(now + service(self.choice, seconds, interval, pipeline_depth), need)
        if len(self._waiting) < need:
            return None
        self._starving_drops = 0
        if self.choice.frames / seconds < 1 / interval:
            self._skip_evenly(need)
        return Job([self._waiting.popleft()[1] for _ in range(need)], self.choice)

    def record_call(self, choice: Choice, seconds: float) -> None:
        """Report what a call took; not that of a stream's first chunk, which runs differently."""
        self._slowdowns.append(seconds / self.table[choice])

    def record_delivery(self, captured: Iterable[float], now: float) -> None:
        """Report that the pictures of a chunk, captured at these times, are there at `now`."""
        self.stats.deliver(captured, now, self.objective.deadline_s)

    def _drop_late(self, ready_at: float, need: int) -> None:
        """Give up frames whose pictures would be late, but never so many that no chunk runs."""
        while self._waiting and ready_at - self._waiting[0][0] > self.objective.deadline_s:
            if len(self._waiting) <= need:
                if self._starving_drops == need:
                    return
                self._starving_drops += 1
            self._waiting.popleft()
            self.stats.late += 1

    def _skip_evenly(self, need: int) -> None:
        """Leave `need` frames, evenly spread over those that wait, the newest among them."""
        waiting = list(self._waiting)
        self.stats.skipped += len(waiting) - need
        self._waiting = deque(waiting[(i + 1) * len(waiting) // need - 1] for i in range(need))
