"""Lead time: how much earlier a change has to be made for the image to show it on time."""

import time
from collections.abc import Callable

from streamcam.stats import Status

REFRESH_S = 0.25
MAX_WAIT_S = 0.25
"""Seconds: the longest wait for a frame that is allowed for."""
MAX_LEAD_S = 10.0
SMOOTHING = 0.5
"""Share of a new measurement, so that one odd figure moves no modulator visibly."""


class LeadTime:
    """Seconds between a change and the first frame on air that shows it, from the measured latency.

    A change is read with the next camera frame, on average half a frame later, and that frame is
    on air after the latency from camera to air. What is read where the output is composed shows at
    its next tick.

    Args:
        status: returns the figures of the broadcast.
        output_rate: ticks of the output per second.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        status: Callable[[], Status],
        output_rate: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.output_s = 0.5 / output_rate
        """Of what is read where the output is composed."""
        self._status = status
        self._clock = clock
        self._measured_at = float("-inf")
        self._model_s = self._encoding_s = 0.0

    def model_s(self) -> float:
        """Return the lead of what the camera or the model is given."""
        self._measure()
        return min(self._model_s, MAX_LEAD_S)

    def prompt_s(self) -> float:
        """Return the lead of a new prompt, which is encoded first."""
        self._measure()
        return min(self._model_s + self._encoding_s, MAX_LEAD_S)

    def _measure(self) -> None:
        """Take the figures of the broadcast into account, every `REFRESH_S` at most."""
        now = self._clock()
        if now - self._measured_at < REFRESH_S:
            return
        self._measured_at = now
        status = self._status()
        rate = status.fps_model or status.fps_in
        wait_s = min(0.5 / rate, MAX_WAIT_S) if rate else 0.0
        measured = (status.latency_p50 or 0.0) + wait_s
        share = SMOOTHING if self._model_s else 1.0
        self._model_s += share * (measured - self._model_s)
        self._encoding_s = status.prompt_encoding or 0.0
