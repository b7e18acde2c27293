"""MIDI clock: tempo, beat and song position from its messages, without a MIDI library."""

from collections import deque
from collections.abc import Sequence

from streamcam.control.tempo.beat_grid import MAX_BPM, MIN_BPM, BeatGrid
from streamcam.errors import ParameterError

PULSES_PER_BEAT = 24
PULSES_PER_POSITION = 6
"""Song position counts sixteenths."""
WINDOW = 2 * PULSES_PER_BEAT + 1
"""Pulses that the tempo is fitted to: two beats even out the jitter of MIDI over USB."""
LEAST = PULSES_PER_BEAT // 4 + 1
"""Pulses before a tempo is known."""
OFF_TEMPO = 0.25
"""Share of an interval by which a pulse may come early or late, before it counts as off."""
OFF_IN_A_ROW = 4
"""Pulses off the tempo, one after the other, that are a new tempo."""

NAMES = {0xF2: "songpos", 0xF8: "clock", 0xFA: "start", 0xFB: "continue", 0xFC: "stop"}
"""Names of the messages, as in mido, by their status byte."""


def song_position(data: Sequence[int]) -> int:
    """Return the sixteenths in the two data bytes of a song position."""
    low, high = (data[0] & 0x7F, data[1] & 0x7F) if len(data) >= 2 else (0, 0)
    return high << 7 | low


class MidiClock:
    """Grid of beats that follows the pulses of a MIDI clock.

    A straight line is fitted to the times of the last pulses, so that their jitter reaches neither
    tempo nor phase. When the pulses end, the grid goes on at the last tempo.
    """

    def __init__(self) -> None:
        self.running = False
        """Whether the sender plays; its clock may go on while it does not."""
        self._times: deque[float] = deque(maxlen=WINDOW)
        self._off: list[float] = []
        self._count = -1
        """Pulse that came last, from 0 where the song begins."""
        self._grid: BeatGrid | None = None

    @property
    def grid(self) -> BeatGrid | None:
        """The beats; None until the tempo is known."""
        return self._grid

    def receive(self, name: str, time: float, position: int = 0) -> None:
        """Take a message at a monotonic time.

        Args:
            name: as in mido: clock, start, continue, stop or songpos; others are ignored.
            time: monotonic seconds at which it came.
            position: of a song position, sixteenths.
        """
        match name:
            case "clock":
                self._pulse(time)
            case "start":
                # The pulse after it is the first of the song.
                self.running = True
                self._move_to(0)
            case "continue":
                self.running = True
            case "stop":
                self.running = False
            case "songpos":
                self._move_to(position * PULSES_PER_POSITION)

    def _move_to(self, pulse: int) -> None:
        """Let the next pulse be number `pulse` of the song."""
        self._count = pulse - 1
        self._fit()

    def _pulse(self, time: float) -> None:
        if self._times and not 0 < time - self._times[-1] <= 60 / MIN_BPM / PULSES_PER_BEAT:
            # The clock was interrupted, or is no tempo.
            self._times.clear()
            self._off.clear()
        self._count += 1
        self._off = [*self._off, time] if self._is_off(time) else []
        if len(self._off) >= OFF_IN_A_ROW:
            self._times, self._off = deque(self._off, maxlen=WINDOW), []
        else:
            self._times.append(time)
        self._fit()

    def _is_off(self, time: float) -> bool:
        """Return whether the interval before a pulse is far from those of the tempo."""
        if len(self._times) < LEAST:
            return False
        interval = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        return abs(time - self._times[-1] - interval) > OFF_TEMPO * interval

    def _fit(self) -> None:
        """Fit time = first + interval · pulse to the last pulses, and make the grid of it."""
        n = len(self._times)
        if n < LEAST:
            return
        newest, mean = self._times[-1], (n - 1) / 2
        centre = sum(time - newest for time in self._times) / n
        covariance = sum((k - mean) * (t - newest) for k, t in enumerate(self._times))
        interval = covariance * 12 / (n * (n * n - 1))
        bpm = 60 / (interval * PULSES_PER_BEAT) if interval > 0 else 0.0
        if not MIN_BPM <= bpm <= MAX_BPM:
            return  # No clock that music has; the last grid goes on.
        fitted_newest = newest + centre + interval * (n - 1 - mean)
        try:
            start = fitted_newest - self._count * interval
            self._grid = BeatGrid(bpm, start)
        except ParameterError:
            return
