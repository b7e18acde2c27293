"""Ableton Link: tempo and phase that are shared with the other programs of the network.

Link is free software under the GPL, version 2 or later, so the package that brings it is an extra.
"""

import importlib
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from streamcam.control.tempo.beat_grid import BeatGrid
from streamcam.errors import ParameterError

log = logging.getLogger(__name__)

MISSING = (
    "Ableton Link needs a package under the GPL, which streamcam does not bring along:"
    ' pip install "streamcam[link]"'
)


class LinkSession(Protocol):
    """A session of programs that share tempo and phase."""

    def grid(self, beats_per_bar: int) -> BeatGrid:
        """Return the session's beats now."""

    def set_bpm(self, bpm: float) -> None:
        """Change the tempo of the session, for all that take part in it."""

    def begin_bar(self, beats_per_bar: int) -> None:
        """Let a bar begin now, if nobody else is there; others keep the phase that they share."""

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after the tempo has changed, from a thread of the session."""

    def leave(self) -> None:
        """Leave the session."""


def join_session(bpm: float) -> LinkSession:
    """Join the session of the network; begin one at `bpm` where there is none.

    Raises:
        ParameterError: the extra is not installed.
    """
    try:
        library = importlib.import_module("link")
    except ImportError:
        raise ParameterError(MISSING) from None
    return AbletonLink(library, bpm)


class AbletonLink:
    """A session over the library of Ableton Link.

    Whatever other programs send, `grid` returns usable beats: the last ones where the session's
    are none.
    """

    def __init__(self, library: Any, bpm: float) -> None:
        self._link = library.Link(bpm)
        self._link.enabled = True
        self._last = BeatGrid(bpm, time.monotonic())
        self._reported = False

    @property
    def peers(self) -> int:
        """Other programs in the session."""
        return int(self._link.numPeers())

    def grid(self, beats_per_bar: int) -> BeatGrid:
        """Return the session's beats now."""
        try:
            state = self._link.captureSessionState()
            # Link has a clock of its own.
            now, micros = time.monotonic(), self._link.clock().micros()
            beat, bpm = state.beatAtTime(micros, beats_per_bar), state.tempo()
            self._last = BeatGrid(bpm, now - beat * 60 / bpm, beats_per_bar)
        except Exception as error:  # Whatever the library raises, the output asks for beats.
            if not self._reported:
                log.warning("Ableton Link has no usable tempo, the last one goes on: %s", error)
            self._reported = True
        return self._last

    def set_bpm(self, bpm: float) -> None:
        state = self._link.captureSessionState()
        state.setTempo(bpm, self._link.clock().micros())
        self._link.commitSessionState(state)

    def begin_bar(self, beats_per_bar: int) -> None:
        state = self._link.captureSessionState()
        state.requestBeatAtTime(0, self._link.clock().micros(), beats_per_bar)
        self._link.commitSessionState(state)

    def listen(self, listener: Callable[[], None]) -> None:
        self._link.setTempoCallback(lambda _bpm: listener())

    def leave(self) -> None:
        self._link.enabled = False
