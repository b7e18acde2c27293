"""Engine without a process: it takes frames when it is told to, and gives their outputs at once."""

from typing import Any, ClassVar

import numpy as np

from streamcam.errors import EngineError
from streamcam.runtime.engine_frames import Work
from streamcam.runtime.engine_process import LOADING, LOST, RUNNING, STOPPED
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame


class FakeEngine:
    """Stands in for `EngineProcess`; `made` has all of them, the first one first."""

    made: ClassVar[list["FakeEngine"]] = []
    seconds_per_pixel = 0.0

    def __init__(
        self, config: Config, on_failure: Any, on_refused: Any, *, candidate: bool = False
    ) -> None:
        del on_refused
        self.made.append(self)
        self.config, self.candidate = config, candidate
        self._on_failure = on_failure
        self.state, self.restarts = LOADING, 0
        self.is_settled = False
        self.has_run = False
        self.work = Work(0, 0.0)
        self.offered: list[tuple[Frame, Parameters]] = []
        self.ready: list[Frame] = []
        self.before: FakeEngine | None = None

    def start(self) -> None:
        return

    def stop(self) -> None:
        self.state = STOPPED

    def load(self, *, settled: bool = True) -> None:
        self.state, self.has_run, self.is_settled = RUNNING, True, settled

    def offer(self, frame: Frame, parameters: Parameters) -> None:
        self.offered.append((frame, parameters))
        self.ready.append(frame)
        pixels = self.config.width * self.config.height
        busy_s = self.work.busy_s + pixels * self.seconds_per_pixel
        self.work = Work(self.work.frames + 1, busy_s)

    def outputs(self) -> list[Frame]:
        ready, self.ready = self.ready, []
        return ready

    def succeed(self, before: "FakeEngine") -> None:
        self.before, self.candidate = before, False
        self.restarts += before.restarts

    def die(self) -> None:
        self.state = LOST
        if self.candidate or not self.has_run:
            self._on_failure(EngineError("no memory"))


def frame(index: int) -> Frame:
    """Return a frame of 25 a second."""
    return Frame(np.zeros((8, 8, 3), np.uint8), index, index / 25)
