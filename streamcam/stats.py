"""Counters and latencies: what a broadcast says of itself. Pure aggregation."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil


@dataclass(frozen=True, slots=True)
class Status:
    """A broadcast at one moment."""

    state: str
    """The engine's: loading, running, lost, stopped; or passthrough where there is none."""
    source: str
    """The source's: live, lost, or ended."""
    fps_in: float
    """Frames per second from the source."""
    fps_model: float
    """New pictures per second from the engine."""
    fps_out: float
    """Pictures per second on air."""
    latency_p50: float | None
    """Seconds from a frame's capture until its picture was sent."""
    latency_p95: float | None
    dropped: int
    """Frames that newer ones overtook before the model took them."""
    skipped: int
    """Frames that the similarity filter left out."""
    restarts: int
    """Engines started after the first one."""
    uptime: float
    """Seconds on air."""
    model: str
    """The model's name as it was given."""
    vram: float | None = None
    """Bytes in use on the accelerator, where it says."""
    power: float | None = None
    """Watts that the accelerator draws, where it says."""
    sinks: tuple[str, ...] = ()
    """A line for each sink: its name and how it fares."""
    schedule: str = ""
    """How the video stream runs, and how its frames fared: late, dropped, latency and jitter."""


@dataclass(slots=True)
class Rate:
    """Events per second over the last few seconds."""

    window: float = 3.0
    times: deque[float] = field(default_factory=deque)

    def tick(self, now: float) -> None:
        self.times.append(now)
        self._forget(now)

    def per_second(self, now: float) -> float:
        """Return the rate of what happened within the window before `now`."""
        self._forget(now)
        if len(self.times) < 2:
            return 0.0
        span = now - self.times[0]
        return (len(self.times) - 1) / span if span > 0 else 0.0

    def _forget(self, now: float) -> None:
        while self.times and self.times[0] < now - self.window:
            self.times.popleft()


@dataclass(slots=True)
class Latencies:
    """The last so many latencies, for their percentiles."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=300))

    def add(self, seconds: float) -> None:
        self.recent.append(seconds)

    def percentile(self, percent: float) -> float | None:
        """Return the latency that `percent` of the recent ones do not exceed; None without any."""
        return percentile(list(self.recent), percent)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the nearest-rank percentile of `values`, None where there are none."""
    if not values:
        return None
    rank = ceil(len(values) * percent / 100)
    return sorted(values)[min(len(values), max(1, rank)) - 1]
