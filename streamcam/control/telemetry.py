"""What a broadcast says of itself over OSC, twice a second."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from streamcam.control.packets import Argument, Message
from streamcam.stats import Status

PERIOD = 0.5
"""Seconds between two reports."""


class Stat(NamedTuple):
    """One figure: its address, what it means, and where it is found."""

    name: str
    unit: str
    description: str
    get: Callable[[Status], Argument]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


STATS = (
    Stat("fps", "per second", "New pictures from the model.", lambda s: float(s.fps_model)),
    Stat("fps/in", "per second", "Frames from the source.", lambda s: float(s.fps_in)),
    Stat("fps/out", "per second", "Pictures on air.", lambda s: float(s.fps_out)),
    Stat("latency", "ms", "From camera to air, median.", lambda s: _ms(s.latency_p50)),
    Stat("latency/p95", "ms", "The same, 95th percentile.", lambda s: _ms(s.latency_p95)),
    Stat("dropped", "frames", "Overtaken by newer ones.", lambda s: s.dropped),
    Stat("skipped", "frames", "Left out by the similarity filter.", lambda s: s.skipped),
    Stat("restarts", "", "Engines started after the first one.", lambda s: s.restarts),
    Stat("state", "", "loading, running, lost, stopped or passthrough.", lambda s: s.state),
    Stat("source", "", "live, lost or ended.", lambda s: s.source),
    Stat(
        "vram", "MB", "Memory in use on the accelerator.", lambda s: s.vram and float(s.vram / 1e6)
    ),
    Stat("power", "W", "What the accelerator draws.", lambda s: s.power),
)


def stats(prefix: str, status: Status) -> Iterator[Message]:
    """Yield `status` as messages, and those that users of StreamDiffusionTD listen to."""
    for stat in STATS:
        value = stat.get(status)
        if value is not None:
            yield Message(f"{prefix}/stat/{stat.name}", (value,))
    yield Message("/server_active", (status.state == "running",))
    yield Message("/stream-info/fps", (float(status.fps_model),))
