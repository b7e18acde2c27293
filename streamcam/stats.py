"""Status of a broadcast, with event rates and latency percentiles."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from threading import Lock

HISTORY_S = 60
"""Seconds of latencies that are kept for a graph."""


@dataclass(frozen=True, slots=True)
class SinkState:
    """State of one sink at one moment."""

    name: str
    """As in the settings, without the secrets of a URL."""
    problem: str | None
    """Reason that it takes no frames, None while it does."""
    fps: float
    """Frames per second that it takes."""
    skipped: int
    """Frames skipped to keep up."""

    @property
    def line(self) -> str:
        """The state in one line: the name, the rate or problem, and skipped frames."""
        state = self.problem or f"{self.fps:.1f} fps"
        skipped = f", {self.skipped} skipped to keep up" if self.skipped else ""
        return f"{self.name}: {state}{skipped}"


@dataclass(frozen=True, slots=True)
class Status:
    """State, rates and counters of a broadcast at one moment."""

    state: str
    """State of the engine: loading, running, lost, stopped; or passthrough where there is none."""
    source: str
    """State of the source: live, lost or ended."""
    fps_in: float
    """Frames per second from the source."""
    fps_model: float
    """New outputs per second from the engine."""
    fps_out: float
    """Frames per second sent to the sinks."""
    latency_p50: float | None
    """Median seconds from the capture of a frame until its output was sent."""
    latency_p95: float | None
    """The 95th percentile of the same."""
    dropped: int
    """Frames skipped to keep up: newer ones were there before the model was free."""
    skipped: int
    """Frames skipped by the similarity filter."""
    restarts: int
    """Restarts of the engine process."""
    uptime: float
    """Seconds on air."""
    model: str
    """Name of the model as in the settings."""
    activity: str = ""
    """Current loading or restart step of the engine process, such as building an engine; empty
    while frames are processed."""
    size: str = ""
    """Size of the model's image in pixels, such as 448x256; empty where there is no model."""
    vram: float | None = None
    """Bytes in use on the GPU, where it reports them."""
    power: float | None = None
    """Power draw of the GPU in watts, where it reports it."""
    sinks: tuple[str, ...] = ()
    """One line for each sink: its name and state."""
    schedule: str = ""
    """Schedule of the video stream, with its late and dropped frames, latency and jitter."""
    prompt: str = ""
    """The prompt as one text, with the shares of several."""
    preset: str | None = None
    """The preset that was loaded last, while on air."""
    overrides: tuple[str, ...] = ()
    """Which of panic, blackout, freeze and bypass are on, the strongest first."""
    recording: str | None = None
    """Path of the video that is being recorded."""
    obs: str = ""
    """State of OBS: live, recording, idle or not connected; empty where it is not in use."""
    page: str | None = None
    """URL of the preview page."""
    prompt_encoding: float | None = None
    """Seconds that the engine's last new prompt took to encode, once it has had one."""
    notice: str = ""
    """Newest remark of the engine on live values that have no effect, or were refused; on the
    newest prompt only, once the model has read it."""
    prompt_read: bool = True
    """Whether the model has read the newest prompt."""
    microphone_delay_ms: int | None = None
    """Milliseconds to delay a microphone by, so that the sound fits the output: the median
    latency."""
    sink_states: tuple[SinkState, ...] = ()
    """The state of each sink, in the order of `sinks`."""
    last_snapshot: str | None = None
    """Path of the snapshot that was saved last."""
    last_recording: str | None = None
    """Path of the video that was recorded last and is complete."""


@dataclass(slots=True)
class Rate:
    """Events per second over the last `window` seconds."""

    window: float = 3.0
    times: deque[float] = field(default_factory=deque)

    def tick(self, now: float) -> None:
        """Count an event; called from one thread at a time."""
        self.times.append(now)
        while self.times[0] < now - self.window:
            self.times.popleft()

    def per_second(self, now: float) -> float:
        """Return the rate of the events within the window before `now`; called from any thread."""
        # A copy, which is made at once: others read and tick in the meantime.
        recent = [time for time in tuple(self.times) if time >= now - self.window]
        if len(recent) < 2:
            return 0.0
        span = now - recent[0]
        return (len(recent) - 1) / span if span > 0 else 0.0


@dataclass(slots=True)
class Latencies:
    """The last 300 latencies in seconds, for their percentiles."""

    recent: deque[float] = field(default_factory=lambda: deque(maxlen=300))

    def add(self, seconds: float) -> None:
        self.recent.append(seconds)

    def percentile(self, percent: float) -> float | None:
        """Return the latency that `percent` % of the recent ones do not exceed, None if empty."""
        return percentile(tuple(self.recent), percent)


class LatencyHistory:
    """Latencies of the last minute, one point a second; may be used from any thread."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, float | None, float | None]] = deque(maxlen=HISTORY_S)
        self._lock = Lock()

    def add(self, now: float, p50: float | None, p95: float | None) -> None:
        """Add a point, unless the last one is less than a second old."""
        with self._lock:
            if not self._points or now - self._points[-1][0] >= 1.0:
                self._points.append((now, p50, p95))

    def points(self, now: float) -> list[tuple[float, float | None, float | None]]:
        """Return the points of the minute before `now`: age in seconds, p50 and p95 in ms."""
        with self._lock:
            points = tuple(self._points)
        return [
            (round(now - time, 1), _ms(p50), _ms(p95))
            for time, p50, p95 in points
            if now - time <= HISTORY_S
        ]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the nearest-rank percentile of `values`, None where there are none."""
    if not values:
        return None
    rank = ceil(len(values) * percent / 100)
    return sorted(values)[min(len(values), max(1, rank)) - 1]
