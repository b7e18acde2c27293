"""Beat grid: tempo and phase as pure arithmetic on monotonic seconds."""

from dataclasses import dataclass, replace
from math import ceil, isfinite

from streamcam.errors import ParameterError

MIN_BPM, MAX_BPM = 20.0, 999.0
"""The tempos that Ableton Link allows."""
MAX_BEATS_PER_BAR = 32
ROUNDING = 1e-6
"""Beats by which a time may miss a boundary, through rounding alone, and still be on it."""
MAX_BEAT = 1e12
"""Beats from beat 0 beyond which a grid is no tempo but a broken clock."""


@dataclass(frozen=True, slots=True)
class BeatGrid:
    """Beats at an even tempo. Beat 0 begins a bar, as does every multiple of `beats_per_bar`.

    Raises:
        ParameterError: the tempo, the phase or the bar is no usable number.
    """

    bpm: float = 120.0
    """Beats per minute."""
    start: float = 0.0
    """Monotonic seconds of beat 0."""
    beats_per_bar: int = 4

    def __post_init__(self) -> None:
        if not MIN_BPM <= self.bpm <= MAX_BPM:
            raise ParameterError(f"a tempo is {MIN_BPM:g} to {MAX_BPM:g} bpm, not {self.bpm:g}")
        if not isfinite(self.start) or abs(self.start) > MAX_BEAT:
            raise ParameterError(f"a beat cannot begin at {self.start} s")
        if not 1 <= self.beats_per_bar <= MAX_BEATS_PER_BAR:
            raise ParameterError(
                f"a bar has 1 to {MAX_BEATS_PER_BAR} beats, not {self.beats_per_bar}"
            )

    def beat_at(self, time: float) -> float:
        """Return the beat at a monotonic time, with the part of it that is over."""
        return (time - self.start) * self.bpm / 60

    def time_of(self, beat: float) -> float:
        """Return the monotonic time of a beat."""
        return self.start + beat * 60 / self.bpm

    def phase_at(self, time: float, beats: float = 1.0) -> float:
        """Return how far a stretch of so many beats has gone: 0 at its beginning, below 1."""
        return (self.beat_at(time) / beats) % 1.0

    def boundary(self, time: float, beats: float) -> float:
        """Return the first multiple of `beats` at or after a monotonic time, as a beat."""
        return ceil((self.beat_at(time) - ROUNDING) / beats) * beats

    def at_tempo(self, bpm: float, now: float) -> "BeatGrid":
        """Return the grid at another tempo, at the same beat now."""
        return replace(self, bpm=bpm, start=now - self.beat_at(now) * 60 / bpm)

    def at_beat(self, beat: float, now: float) -> "BeatGrid":
        """Return the grid that is at `beat` now, at the same tempo."""
        return replace(self, start=now - beat * 60 / self.bpm)
