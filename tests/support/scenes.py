"""Fake of a broadcast view, for tests of a single sink."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from streamcam.settings.parameters import Parameters
from streamcam.stats import Status
from streamcam.system.web_tokens import WebTokens
from streamcam.types import Frame, Image

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
    """Broadcast view whose newest input, status and applied parameters a test sets."""

    def __init__(self, parameters: Parameters | None = None) -> None:
        self.newest_input: Frame | None = None
        self.current_status = STATUS
        self.applied = (0, parameters or Parameters())
        self.routes: list[Any] = []
        self.tokens = WebTokens()
        self.make_routes: Callable[[], Sequence[Any]] = lambda: self.routes

    def input_frame(self) -> Frame | None:
        return self.newest_input

    def control_image(self) -> Image | None:
        return None

    def status(self) -> Status:
        return self.current_status

    def parameters(self) -> Parameters:
        return self.applied[1]

    def applied_parameters(self) -> tuple[int, Parameters]:
        return self.applied

    def web_tokens(self) -> WebTokens:
        return self.tokens

    def web_routes(self) -> Sequence[Any]:
        return self.make_routes()

    def change(self, applied_from: int = 0, **changes: Any) -> None:
        """Change live values from the frame `applied_from` on."""
        self.applied = (applied_from, self.applied[1].changed(changes))

    def change_status(self, **values: Any) -> None:
        """Change fields of the status."""
        self.current_status = replace(self.current_status, **values)
