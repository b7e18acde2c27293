"""Times of presentation that may jump, stop or be missing, as seconds that only rise."""

DISCONTINUITY_S = 10.0
"""A jump ahead by more is a discontinuity in formats that allow one, as FFmpeg has it."""
LONGEST_HOLD_S = 3600.0
"""In other formats a frame may be held for long; a longer jump is an error of the file."""
BACK_S = 0.5
"""A jump back by more begins a new part; frames that are only out of order keep its times."""


class Timeline:
    """Gives each frame of a video its seconds from the first one.

    Parts that were joined, or whose clock was reset or overflowed, follow each other by one
    period. A frame whose time is missing or not after the one before comes one period later.

    Args:
        period: seconds between frames, where their times do not say.
        may_jump: whether the format allows discontinuities, as a broadcast does.
    """

    def __init__(self, period: float, *, may_jump: bool) -> None:
        self._period = period
        self._longest = DISCONTINUITY_S if may_jump else LONGEST_HOLD_S
        self._offset: float | None = None
        self._last = 0.0
        self._started = False

    def place(self, time: float | None) -> float:
        """Return the seconds of the next frame, which its file puts at `time`."""
        next_regular = self._last + self._period if self._started else 0.0
        if time is None:
            placed = next_regular
        else:
            if self._offset is None:
                self._offset = next_regular - time
            step = time + self._offset - self._last
            if not -BACK_S <= step <= self._longest:
                self._offset = next_regular - time
            placed = time + self._offset
        if self._started and placed <= self._last:
            placed = next_regular
        self._last, self._started = placed, True
        return placed
