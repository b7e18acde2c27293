"""Tempo clock: the beats that everything follows, from one of several sources."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from threading import Lock

from streamcam.control.tempo.beat_grid import MAX_BPM, MIN_BPM, BeatGrid
from streamcam.control.tempo.link_session import LinkSession, join_session
from streamcam.control.tempo.midi_clock import NAMES, MidiClock, song_position
from streamcam.control.tempo.tap_tempo import TapTempo
from streamcam.control.tempo.tempo_commands import INTERNAL, LINK, MIDI
from streamcam.errors import ParameterError

FOLLOWS_MIDI = "the tempo follows the MIDI clock; send internal to /tempo/source to set it yourself"
TREMBLING_BPM = 0.3
"""Beats per minute by which the tempo of a MIDI clock has to move to be shown."""


class TempoClock:
    """The beats now, whatever gives them; any thread may call any method.

    Args:
        bpm: at the start.
        beats_per_bar: at the start.
        clock: returns monotonic seconds.
        join: joins a session of Ableton Link at a tempo.
    """

    def __init__(
        self,
        bpm: float = 120.0,
        beats_per_bar: int = 4,
        clock: Callable[[], float] = time.monotonic,
        join: Callable[[float], LinkSession] = join_session,
    ) -> None:
        self.source = INTERNAL
        """What gives the tempo: internal (taps, /tempo/bpm), midi or link."""
        self.on_change: Callable[[], None] = lambda: None
        """Called after the beats have been moved by hand, from the thread that did it."""
        self.on_tempo: Callable[[], None] = lambda: None
        """Called after another program has changed the tempo, from any thread."""
        self._clock = clock
        self._join = join
        self._lock = Lock()
        self._grid = BeatGrid(bpm, clock(), beats_per_bar)
        self._taps = TapTempo()
        self._midi = MidiClock()
        self._link: LinkSession | None = None
        self._midi_bpm = 0.0

    def grid(self) -> BeatGrid:
        """Return the beats of the source as they are now."""
        if self.source == INTERNAL:
            return self._grid
        with self._lock:
            return self._followed()

    @property
    def shown_bpm(self) -> float:
        """The tempo as shown to readers; of a MIDI clock without its trembling."""
        return self._midi_bpm if self.source == MIDI and self._midi_bpm else self.grid().bpm

    def _report_tempo(self) -> None:
        self.on_tempo()

    def _followed(self) -> BeatGrid:
        """Take over the beats of the source; where it gives none, the last ones go on."""
        beats_per_bar = self._grid.beats_per_bar
        if self.source == LINK and self._link:
            self._grid = self._link.grid(beats_per_bar)
        elif self.source == MIDI and self._midi.grid:
            self._grid = replace(self._midi.grid, beats_per_bar=beats_per_bar)
        return self._grid

    def tap(self) -> None:
        """Take a tap: from the second on, they set the tempo, and each is on a beat."""
        self._check_ours()
        with self._lock:
            now = self._clock()
            bpm = self._taps.tap(now)
            if bpm is None:
                return
            if self._link:
                self._link.set_bpm(_clamped(bpm))
            else:
                grid = self._grid.at_tempo(_clamped(bpm), now)
                self._grid = grid.at_beat(round(grid.beat_at(now)), now)
        self.on_change()

    def set_bpm(self, bpm: float) -> None:
        """Set the tempo, keeping the beat; raise ParameterError if it is none."""
        self._check_ours()
        with self._lock:
            grid = self._grid.at_tempo(bpm, self._clock())
            if self._link:
                self._link.set_bpm(bpm)
            else:
                self._grid = grid
        self.on_change()

    def begin_bar(self) -> None:
        """Let a bar begin now."""
        self._check_ours()
        with self._lock:
            if self._link:
                self._link.begin_bar(self._grid.beats_per_bar)
            else:
                self._grid = self._grid.at_beat(0, self._clock())
        self.on_change()

    def set_beats_per_bar(self, beats: int) -> None:
        """Set the length of a bar; raise ParameterError if it is none."""
        with self._lock:
            self._grid = replace(self._grid, beats_per_bar=beats)
        self.on_change()

    def follow(self, source: str) -> None:
        """Take the tempo from another source; the beats go on until that gives others.

        Raises:
            ParameterError: the source needs a package that is not installed.
        """
        grid = self.grid()
        # The output asks for the beats too, and must not wait for the network.
        joined = self._join(grid.bpm) if source == LINK and self._link is None else None
        if joined:
            joined.listen(self._report_tempo)
        with self._lock:
            left = self._link if source != LINK else None
            self._link = joined or (self._link if source == LINK else None)
            self.source = source
        if left:
            left.leave()
        self.on_change()

    def midi(self, status: int, received_at: float, data: Sequence[int] = ()) -> None:
        """Take a message of a MIDI clock, which counts while the source is midi.

        Args:
            status: its first byte; those that are none of a clock are ignored.
            received_at: monotonic seconds.
            data: the two bytes after it, of a song position.
        """
        name = NAMES.get(status)
        if name is None:
            return
        with self._lock:
            self._midi.receive(name, received_at, song_position(data))
            bpm = self._midi.grid.bpm if self._midi.grid else 0.0
            moved = abs(bpm - self._midi_bpm) >= TREMBLING_BPM
            self._midi_bpm = round(bpm, 1) if moved else self._midi_bpm
        if self.source == MIDI and name != "clock":
            self.on_change()
        if self.source == MIDI and moved:
            self.on_tempo()

    def close(self) -> None:
        """Leave the session of Ableton Link, if in one."""
        with suppress(Exception):  # Going off air must not depend on it.
            self.follow(INTERNAL)

    def _check_ours(self) -> None:
        if self.source == MIDI:
            raise ParameterError(FOLLOWS_MIDI)


def _clamped(bpm: float) -> float:
    return min(max(bpm, MIN_BPM), MAX_BPM)
