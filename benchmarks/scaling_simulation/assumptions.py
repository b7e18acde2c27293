"""Figures that the simulation starts from; `docs/scaling.md` says which of them were measured."""

from dataclasses import dataclass
from math import exp

GAIN_AT = 4
"""Streams in one call of the model at which `Kind.gain` is reached; more gain nothing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Models that cost alike.

    Args:
        name: of the kind.
        share: of all streams.
        models: that differ in their weights, so that they cannot run in one call.
        gpu_s: GPU-seconds for a second of one stream at 30 fps, alone.
        gain: of the frames a second, when four streams run in one call.
        memory_gb: of a GPU, for one engine.
    """

    name: str
    share: float
    models: int
    gpu_s: float
    gain: float
    memory_gb: float

    def load(self, streams: int) -> float:
        """Return the share of a GPU that so many streams of one model take, in one engine."""
        together = min(streams, GAIN_AT)
        gain = 1 + (self.gain - 1) * (together - 1) / (GAIN_AT - 1)
        return streams * self.gpu_s / gain if streams else 0.0


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU, and what runs on it."""

    name: str
    memory_gb: float
    kinds: tuple[Kind, ...]


H100 = Card(
    "H100, at the project's targets",
    80.0,
    (
        Kind("one step", 0.70, 12, 0.12, 1.8, 3.5),
        Kind("four steps", 0.15, 6, 0.30, 1.8, 4.0),
        Kind("SDXL-Turbo, 512x512", 0.10, 4, 0.21, 1.8, 10.0),
        Kind("video, 1.3B", 0.05, 2, 0.45, 1.0, 5.4),
    ),
)
RTX_4090 = Card(
    "RTX 4090, as published",
    24.0,
    (
        Kind("one step", 0.75, 12, 0.32, 1.0, 3.5),
        Kind("four steps", 0.15, 6, 0.81, 1.0, 4.0),
        Kind("SDXL-Turbo, 512x512", 0.10, 4, 0.55, 1.0, 10.0),
    ),
)


@dataclass(frozen=True, slots=True)
class Assumptions:
    """A day, a cluster, and how it is run. Times are in seconds."""

    streams: int = 10_000
    """At the busiest time of the day."""
    hours: float = 24.0
    session_median_s: float = 1500.0
    session_sigma: float = 1.0
    """Of the logarithm of the session's length."""
    patience_s: float = 120.0
    """After which a performer who waits for a first place gives up."""

    card: Card = H100
    gpus_per_node: int = 8
    zones: int = 3
    packing: str = "shared"
    """"best-fit" takes the fullest GPU with room, "spread" the emptiest; "shared" the one where a
    stream adds the least, since streams share calls, and among those the fullest."""
    spare: float = 0.1
    """Share of the busy GPUs that is kept free besides."""
    node_start_s: float = 240.0
    """From asking for a node to its first place."""
    idle_s: float = 600.0
    """For which a node must not be needed before it is drained."""

    move_after_s: float | None = None
    """Until the streams of a node that is drained are moved; by default they stay to their end."""

    node_mtbf_days: float = 264.0
    zone_fails_at_h: float | None = 20.5
    zone_fails_for_s: float = 1800.0
    notice_s: float = 1.5
    """Until a stream knows that its node is lost."""
    standby_s: float = 0.5
    """To the first output of another engine with the same model, which the node had named before,
    so that no line is stood in."""
    placement_s: float = 0.01
    """Time of the one process that places streams, for each of them."""
    warm_s: float = 2.0
    """To the first output of an engine that is loaded, from its place on."""
    cold_s: float = 30.0
    """To the first output of a model that has to be loaded."""

    @property
    def session_mean_s(self) -> float:
        """Mean length of a session."""
        return self.session_median_s * exp(self.session_sigma**2 / 2)


DAY = (
    *(0.45, 0.30, 0.20, 0.15, 0.12, 0.12, 0.15, 0.20, 0.28, 0.35, 0.42, 0.48),
    *(0.52, 0.55, 0.58, 0.60, 0.62, 0.68, 0.78, 0.90, 1.00, 0.98, 0.85, 0.65),
)
"""Streams at each hour, in parts of those at the busiest."""


def activity(seconds: float) -> float:
    """Return the activity at a time of the day, between the hours of `DAY`."""
    hour = seconds / 3600
    at = int(hour)
    before, after = DAY[at % 24], DAY[(at + 1) % 24]
    return before + (after - before) * (hour - at)
