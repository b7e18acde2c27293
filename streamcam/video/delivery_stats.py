"""Counts of the frames that a video stream delivered or dropped, their latency and its jitter."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from streamcam.stats import Latencies


@dataclass(slots=True)
class DeliveryStats:
    """Counts of delivered and dropped frames, with latencies in seconds."""

    full: int = 0
    """Dropped because the queue was full."""
    late: int = 0
    """Dropped because they would have missed their deadline."""
    skipped: int = 0
    """Dropped because the model does not keep up with the camera."""
    delivered: int = 0
    misses: int = 0
    """Delivered after their deadline."""
    latencies: Latencies = field(default_factory=lambda: Latencies(deque(maxlen=1000)))
    """Of the oldest frame of each chunk."""
    jitter: Latencies = field(default_factory=lambda: Latencies(deque(maxlen=1000)))
    """Differences between the latencies of successive chunks."""

    @property
    def dropped(self) -> int:
        """Frames dropped, for any reason."""
        return self.full + self.late + self.skipped

    def deliver(self, captured: Iterable[float], now: float, deadline_s: float) -> None:
        """Count the frames of a chunk, captured at these times and delivered at `now`."""
        ages = [now - captured_at for captured_at in captured]
        if not ages:
            return
        self.delivered += len(ages)
        self.misses += sum(age > deadline_s for age in ages)
        if recent := self.latencies.recent:
            self.jitter.add(abs(max(ages) - recent[-1]))
        self.latencies.add(max(ages))

    def __str__(self) -> str:
        """Return one line: misses, drops, and p50/p95/p99 of latency and jitter."""
        share = self.misses / self.delivered if self.delivered else 0.0
        return (
            f"{self.misses} of {self.delivered} frames late ({share:.1%}),"
            f" {self.dropped} frames skipped to keep up, latency {_percentiles(self.latencies)},"
            f" jitter {_percentiles(self.jitter)}"
        )


def _percentiles(times: Latencies) -> str:
    seconds = [times.percentile(percent) for percent in (50, 95, 99)]
    return "/".join("–" if t is None else f"{1e3 * t:.0f}" for t in seconds) + " ms"
