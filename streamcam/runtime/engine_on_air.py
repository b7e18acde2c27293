"""The engine on air, and how another takes its place without a cut.

The candidate is loaded while the engine on air goes on. Then both get the frames until the
candidate has given outputs with the values of now; the first that is newer than what is on air goes
out at the next tick, and the other engine ends.
"""

import logging
import threading
from collections.abc import Callable

from streamcam.errors import StreamcamError
from streamcam.runtime.engine_process import RUNNING, EngineProcess, OnRefused
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame

log = logging.getLogger(__name__)

UNSETTLED_PERIOD_S = 0.25
"""Between the frames for a candidate that waits for something, such as its text encoder: until then
its outputs are of no use, and its work would only slow the engine on air."""


class EngineOnAir:
    """One engine process on air, and at times another that is to replace it.

    `offer` is called from one thread, `outputs` from another, everything else from a third; none
    of the first two ever waits.

    Args:
        config: what the first engine runs.
        on_fatal_error: called once, from a thread, if the first engine process cannot run at all.
        on_refused: as for `EngineProcess`.

    Raises:
        EngineError: there is too little shared memory for the frames.
    """

    def __init__(
        self,
        config: Config,
        on_fatal_error: Callable[[StreamcamError], None],
        on_refused: OnRefused,
    ) -> None:
        self.engine = EngineProcess(config, on_fatal_error, on_refused)
        """The engine on air."""
        self.changed = threading.Event()
        """Set whenever a candidate has taken over, or has failed."""
        self.failure: StreamcamError | None = None
        """What the last candidate failed of; None if it did not."""
        self._on_refused = on_refused
        self._candidate: EngineProcess | None = None
        self._retired: list[EngineProcess] = []
        self._newest_shown = -1
        self._outputs_of_candidate = 0
        self._next_offer_at = 0.0
        self._lock = threading.Lock()
        """Held while a candidate takes over or fails, which it may do at the same moment."""

    def start(self) -> None:
        """Start the first engine; returns at once."""
        self.engine.start()

    def stop(self) -> None:
        """End all engines."""
        self.end_retired()
        if candidate := self._candidate:
            candidate.stop()
        self.engine.stop()

    # ---- the frame path

    def offer(self, frame: Frame, parameters: Parameters) -> None:
        """Send a frame with its snapshot to the engine on air, and to a candidate that is ready."""
        candidate = self._candidate
        if candidate is not None and candidate.state == RUNNING:
            if candidate.is_settled or frame.captured_at >= self._next_offer_at:
                self._next_offer_at = frame.captured_at + UNSETTLED_PERIOD_S
                candidate.offer(frame, parameters)
            if self._is_proven(candidate):
                return  # What is newer than the last output on air comes from the candidate.
        self.engine.offer(frame, parameters)

    def outputs(self) -> list[Frame]:
        """Return the outputs since the last call, oldest first, all of `engine` as it then is."""
        outputs = self.engine.outputs()
        if outputs:
            self._newest_shown = outputs[-1].index
        candidate = self._candidate
        if candidate is None or candidate.state != RUNNING:
            return outputs
        was_settled = candidate.is_settled
        ready = candidate.outputs()
        # Both: it may have become so, or ceased to be, while these outputs were made.
        if was_settled and candidate.is_settled:
            self._outputs_of_candidate += len(ready)
        else:
            self._outputs_of_candidate = 0
        newer = [output for output in ready if output.index > self._newest_shown]
        if newer and self._is_proven(candidate) and self._take_over(candidate):
            return newer
        return outputs

    def _is_proven(self, candidate: EngineProcess) -> bool:
        """Return whether the candidate gives outputs of frames that came one after the other."""
        return self._outputs_of_candidate >= candidate.config.num_steps

    def _take_over(self, candidate: EngineProcess) -> bool:
        """Put the candidate on air; return False if it has just failed."""
        with self._lock:
            if self._candidate is not candidate:
                return False
            candidate.succeed(self.engine)
            self._retired.append(self.engine)
            self.engine, self._candidate = candidate, None
        self.changed.set()
        return True

    # ---- changes

    @property
    def is_changing(self) -> bool:
        """Whether a candidate is loading, or about to take over."""
        return self._candidate is not None

    def replace(self, config: Config) -> None:
        """Have an engine of `config` take over as soon as it is ready; returns at once.

        If it fails before that, the engine on air stays, and `failure` says why.
        """
        self.failure = None
        self._outputs_of_candidate = 0
        try:
            candidate = EngineProcess(config, self._failed, self._on_refused, candidate=True)
        except StreamcamError as error:
            self.failure = error
            return
        self._candidate = candidate
        try:
            candidate.start()
        except StreamcamError as error:
            self._failed(error)

    def _failed(self, error: StreamcamError) -> None:
        with self._lock:
            if (candidate := self._candidate) is None:
                return  # It is on air already.
            self._candidate = None
            self._retired.append(candidate)
            self.failure = error
        self.changed.set()

    def replace_lost(
        self, config: Config, on_fatal_error: Callable[[StreamcamError], None]
    ) -> None:
        """Start an engine of `config` in the place of one that does not run, and end that.

        Args:
            config: what to run.
            on_fatal_error: called once, from a thread, if it cannot run either.

        Raises:
            EngineError: there is too little shared memory for the frames.
        """
        with self._lock:
            if candidate := self._candidate:
                self._candidate = None
                self._retired.append(candidate)
        lost, engine = self.engine, EngineProcess(config, on_fatal_error, self._on_refused)
        engine.succeed(lost)
        engine.restarts += lost.has_run
        self._retired.append(lost)
        self.end_retired()  # A GPU may have no room for both.
        self.engine = engine
        engine.start()

    def end_retired(self) -> None:
        """End the engines that others have replaced, and those that have failed; may wait."""
        while self._retired:
            self._retired.pop().stop()
