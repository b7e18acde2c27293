"""Camera frames whose outputs may still come, so that an output is shown with its own frame."""

from dataclasses import dataclass
from typing import NamedTuple

from streamcam.types import Image

SPARE = 6
"""Frames that are kept beyond those that the engine may take: it may report one late."""
MAX_BYTES = 256 << 20
"""Beyond this the oldest frames go, and their outputs are enlarged without them."""


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """A camera frame that the engine was sent."""

    index: int
    image: Image
    """Upright, as the camera gave it."""
    small: Image | None
    """Fitted to the model's size, if that was done here."""


class _Entry(NamedTuple):
    frame: SourceFrame
    taken: bool


class SourceFrames:
    """Keeps references to frames until a newer one is shown; copies nothing and takes no lock.

    `add` is called from one thread, `find` from another.

    Args:
        waiting: most frames that the engine takes at once.
    """

    def __init__(self, waiting: int) -> None:
        self._waiting = waiting
        self._entries: tuple[_Entry, ...] = ()
        self._shown = -1

    def add(self, frame: SourceFrame, newest_taken: int) -> None:
        """Add a frame; `newest_taken` is the index of the newest frame that the engine took."""
        kept = [
            _Entry(entry.frame, taken)
            for entry in self._entries
            for taken in [entry.taken or 0 <= newest_taken - entry.frame.index < self._waiting]
            if self._may_be_shown(entry.frame.index, frame.index, newest_taken, taken=taken)
        ]
        kept.append(_Entry(frame, taken=False))
        size = sum(_size(entry.frame) for entry in kept)
        while size > MAX_BYTES and len(kept) > 1:
            size -= _size(kept.pop(0).frame)
        self._entries = tuple(kept)

    def _may_be_shown(self, index: int, newest: int, newest_taken: int, *, taken: bool) -> bool:
        if index < self._shown:
            return False
        return taken or (index > newest_taken and newest - index <= self._waiting + SPARE)

    def find(self, index: int) -> SourceFrame | None:
        """Return the frame `index`, and forget older ones soon; None if it is not here."""
        self._shown = index
        return next((e.frame for e in self._entries if e.frame.index == index), None)

    def __len__(self) -> int:
        return len(self._entries)


def _size(frame: SourceFrame) -> int:
    return frame.image.nbytes + (0 if frame.small is None else frame.small.nbytes)
