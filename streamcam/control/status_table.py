"""Table of the figures and states of a broadcast, as every protocol sends them."""

from collections.abc import Callable
from typing import NamedTuple

from streamcam.control.messages import Argument
from streamcam.stats import Status


class Stat(NamedTuple):
    """One figure of the broadcast."""

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
ACTIVITY = "Current loading or restart step, such as building an engine; empty on air."
NOTICE = "How a prompt is understood, values without effect or refused, the end of a long prompt."
PROMPT_READ = "1 once the model has read the newest prompt, 0 until then."
OBS_STATES = "OBS: live, recording, idle or not connected."
SKIPPED = "Frames skipped as similar to the one before."

STATS = (
    Stat("fps", "number", "per second", "New frames from the model.", lambda s: s.fps_model),
    Stat("fps/in", "number", "per second", "Frames from the source.", lambda s: s.fps_in),
    Stat("fps/out", "number", "per second", "Frames on air.", lambda s: s.fps_out),
    Stat("latency", "number", "ms", "From camera to air, median.", lambda s: _ms(s.latency_p50)),
    Stat("latency/p95", "number", "ms", "The same, 95th percentile.", lambda s: _ms(s.latency_p95)),
    Stat(
        "dropped",
        "whole number",
        "frames",
        "Skipped to keep up: newer ones were there.",
        lambda s: s.dropped,
    ),
    Stat("skipped", "whole number", "frames", SKIPPED, lambda s: s.skipped),
    Stat("restarts", "whole number", "", "Engines after the first one.", lambda s: s.restarts),
    Stat("size", "text", "pixels", "Size of the model's image.", lambda s: s.size or None),
    Stat("state", "text", "", STATES, lambda s: s.state),
    Stat("activity", "text", "", ACTIVITY, lambda s: s.activity),
    Stat("notice", "text", "", NOTICE, lambda s: s.notice),
    Stat("prompt_read", "whole number", "", PROMPT_READ, lambda s: int(s.prompt_read)),
    Stat("source", "text", "", "live, lost or ended.", lambda s: s.source),
    Stat("obs", "text", "", OBS_STATES, lambda s: s.obs or None),
    Stat("vram", "number", "MB", "GPU memory in use.", lambda s: _mb(s.vram)),
    Stat("power", "number", "W", "Power draw of the GPU.", lambda s: s.power),
)
