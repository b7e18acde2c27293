"""Stand in for a broadcast where only a sink is looked at."""

from dataclasses import replace
from typing import Any

from streamcam.settings.parameters import Parameters
from streamcam.stats import Status
from streamcam.types import Frame

STATUS = Status(
    state="running",
    source="live",
    fps_in=30.0,
    fps_model=12.5,
    fps_out=30.0,
    latency_p50=0.082,
    latency_p95=0.11,
    dropped=7,
    skipped=3,
    restarts=0,
    uptime=61.0,
    model="stabilityai/sd-turbo",
    sinks=("preview: 30.0 fps",),
)


class FakeBroadcastView:
    """A scene that a test sets: what came in, how it fares, and which snapshot rules."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.came_in: Frame | None = None
        self.now = STATUS
        self.rules = (0, parameters or Parameters())

    def input_frame(self) -> Frame | None:
        return self.came_in

    def status(self) -> Status:
        return self.now

    def parameters(self) -> Parameters:
        return self.rules[1]

    def applied_parameters(self) -> tuple[int, Parameters]:
        return self.rules

    def change(self, ruled_from: int = 0, **changes: Any) -> None:
        """Have other live values rule from a frame on."""
        self.rules = (ruled_from, self.rules[1].changed(changes))

    def fare(self, **values: Any) -> None:
        """Change the status."""
        self.now = replace(self.now, **values)
