"""What a broadcast says of itself over OSC, twice a second."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from streamcam.control.osc.packets import Argument, Message
from streamcam.stats import Status

PERIOD = 0.5
"""Seconds between two reports."""


class Stat(NamedTuple):
    """One figure: its address, what it means, and where it is found."""

    name: str
    types: str
    unit: str
    description: str
    get: Callable[[Status], Argument]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _mb(size: float | None) -> float | None:
    return None if size is None else size / 1e6


STATES = "loading, running, lost, stopped or passthrough."


STATS = (
    Stat("fps", "number", "per second", "New pictures from the model.", lambda s: s.fps_model),
    Stat("fps/in", "number", "per second", "Frames from the source.", lambda s: s.fps_in),
    Stat("fps/out", "number", "per second", "Pictures on air.", lambda s: s.fps_out),
    Stat("latency", "number", "ms", "From camera to air, median.", lambda s: _ms(s.latency_p50)),
    Stat("latency/p95", "number", "ms", "The same, 95th percentile.", lambda s: _ms(s.latency_p95)),
    Stat("dropped", "whole number", "frames", "Overtaken by newer ones.", lambda s: s.dropped),
    Stat("skipped", "whole number", "frames", "Found similar, left out.", lambda s: s.skipped),
    Stat("restarts", "whole number", "", "Engines after the first one.", lambda s: s.restarts),
    Stat("state", "text", "", STATES, lambda s: s.state),
    Stat("source", "text", "", "live, lost or ended.", lambda s: s.source),
    Stat("vram", "number", "MB", "Memory in use on the accelerator.", lambda s: _mb(s.vram)),
    Stat("power", "number", "W", "What the accelerator draws.", lambda s: s.power),
)


def stats(prefix: str, status: Status) -> Iterator[Message]:
    """Yield `status` as messages, and those that users of StreamDiffusionTD listen to."""
    for stat in STATS:
        value = stat.get(status)
        if value is not None:
            typed = float(value) if stat.types == "number" else value
            yield Message(f"{prefix}/stat/{stat.name}", (typed,))
    yield Message("/server_active", (status.state == "running",))
    yield Message("/stream-info/fps", (float(status.fps_model),))
