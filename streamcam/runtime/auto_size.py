"""Change the size of the model's image on air: larger where the machine has room for it."""

import logging
import threading
import time
from collections.abc import Callable

from streamcam.errors import StreamcamError, one_line
from streamcam.geometry import Size
from streamcam.runtime.engine_frames import Work
from streamcam.runtime.engine_on_air import EngineOnAir
from streamcam.runtime.engine_process import LOST, RUNNING, EngineProcess
from streamcam.runtime.model_size import sizes_on_air
from streamcam.runtime.remembered_size import RememberedSize
from streamcam.runtime.size_choice import SizeChoice
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
LEAST_FRAMES = 3
"""Frames whose time says something: of a slow model an interval counts with those after it."""
TRIAL_S = 30.0
"""A crash within so many seconds of a change is blamed on the size."""
CRASHES = 2
"""So many crashes at a larger size are blamed on it, however late they come."""


class AutoSize:
    """The sizes that an engine may have on air; measures in a thread, and changes between them.

    Args:
        config: with the smallest size.
        on_fatal_error: called if no engine can run, not even at that size.
    """

    def __init__(self, config: Config, on_fatal_error: Callable[[StreamcamError], None]) -> None:
        self._base = config
        self._on_fatal_error = on_fatal_error
        sizes = sizes_on_air(config)
        self._choice = SizeChoice(sizes, sizes[0])
        self._remembered = RememberedSize(config)
        if len(sizes) > 1:
            size, too_large = self._remembered.read()
            self._choice = SizeChoice(sizes, size if size in sizes else sizes[0], too_large)
        self.first = self._config_of(self._choice.size, config.live)
        """The settings of the first engine: at the size that the last start has ended with."""
        if self.first is not config:
            log.info("%s, which this machine had room for last time", shown(self._choice.size))
        self._wanted: Size | None = None
        self._work = Work(0, 0.0)
        self._running_since: float | None = None
        self._ran_s = 0.0
        """Seconds that the engine ran at this size before it was lost."""
        self._restarts = 0
        """Restarts of engines before this size."""
        self._stopping = threading.Event()
        self._thread = SupervisedThread("size", self._loop, self._stopping)

    def failed(self, error: StreamcamError) -> None:
        """Take the error of a first engine that cannot run; another size may."""
        if self._choice.size == self._choice.sizes[0]:
            self._on_fatal_error(error)
            return
        self._on_air.changed.set()

    def start(
        self,
        on_air: EngineOnAir,
        parameters: Callable[[], Parameters],
        period: Callable[[], float],
    ) -> None:
        """Begin to measure `on_air`, where there is more than one size; returns at once.

        Args:
            on_air: runs `first`.
            parameters: returns the newest parameters.
            period: returns the seconds that a frame may take at most.
        """
        self._on_air, self._parameters, self._period = on_air, parameters, period
        if len(self._choice.sizes) > 1:
            self._thread.start()

    def stop(self) -> None:
        """End the thread, before the engines end."""
        self._stopping.set()
        if len(self._choice.sizes) > 1:
            self._on_air.changed.set()
            self._thread.join()

    # ---- the thread

    def _loop(self) -> None:
        changed = self._on_air.changed
        while not self._stopping.is_set():
            changed.wait(INTERVAL_S)
            changed.clear()
            self.check(time.monotonic())

    def check(self, now: float) -> None:
        """Look at what the engines did since the last time, and change the size if that is due."""
        if self._wanted:
            self._finish_change(self._wanted)
        self._on_air.end_retired()
        engine = self._on_air.engine
        if engine.state != RUNNING:
            self._lost(engine, now)
            return
        if self._running_since is None:
            self._running_since, self._work = now, engine.work
            return
        before, work = self._work, engine.work
        frames = work.frames - before.frames
        if frames < LEAST_FRAMES:
            return
        self._work = work
        if self._wanted or not engine.is_settled:
            return
        seconds = (work.busy_s - before.busy_s) / frames
        if size := self._choice.next(seconds, self._period()):
            self._change(size, seconds)

    def _change(self, size: Size, seconds: float) -> None:
        why = f"a frame takes {seconds * 1000:.0f} of {self._period() * 1000:.0f} ms"
        log.info("preparing %s besides %s: %s", shown(size), shown(self._choice.size), why)
        self._wanted = size
        self._on_air.replace(self._config_of(size, self._parameters()))

    def _finish_change(self, size: Size) -> None:
        """Take note of a change that has happened, or has failed."""
        before = self._choice.size
        if self._on_air.failure is not None:
            why = one_line(self._on_air.failure)
            log.warning("%s stays, since %s does not run: %s", shown(before), shown(size), why)
            self._choice.stay()
        elif self._on_air.is_changing:
            return
        else:
            larger = size > before
            why = "the machine has room for it" if larger else "a frame took too long"
            log.info("%s -> %s, since %s", shown(before), shown(size), why)
            self._begin(size)
        self._wanted = None

    def _lost(self, engine: EngineProcess, now: float) -> None:
        """Go back to the smallest size if that in use may be what the engine has failed of."""
        if self._running_since is not None:
            self._ran_s, self._running_since = now - self._running_since, None
        self._choice.forget()
        size, smallest = self._choice.size, self._choice.sizes[0]
        crashes = engine.restarts - self._restarts + (engine.state == LOST)
        may_be_blamed = crashes >= CRASHES or (crashes and self._ran_s < TRIAL_S)
        if size == smallest or not may_be_blamed:
            return
        log.warning("%s -> %s, since the engine failed at that size", shown(size), shown(smallest))
        config = self._config_of(smallest, self._parameters())
        self._on_air.replace_lost(config, self._on_fatal_error)
        self._wanted = None
        self._choice.refuse(size)
        self._begin(smallest)

    def _begin(self, size: Size) -> None:
        """Take note that `size` is on air now."""
        self._choice.begin(size)
        self._running_since, self._ran_s = None, 0.0
        self._restarts = self._on_air.engine.restarts
        self._remembered.write(size, self._choice.too_large)

    def _config_of(self, size: Size, live: Parameters) -> Config:
        base = self._base
        if size == (base.width, base.height) and live is base.live:
            return base
        return base.model_copy(update={"width": size[0], "height": size[1], "live": live})


def shown(size: Size) -> str:
    """Return ``WIDTHxHEIGHT``."""
    return f"{size[0]}x{size[1]}"
