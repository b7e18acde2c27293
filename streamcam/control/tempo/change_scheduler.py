"""Change scheduler: messages that wait for the beat, and are applied ahead of it by the latency."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Condition, Event

from streamcam.control.messages import Message
from streamcam.control.tempo.beat_grid import BeatGrid
from streamcam.errors import ParameterError
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

POLL_S = 0.05
"""Seconds after which the beats are looked at again: other programs may move them."""
JUMP = 0.05
"""Beats by which the beats must be moved to count as others."""
MAX_WAITING = 256
"""Addresses that wait at a time."""

Apply = Callable[[Sequence[Message]], None]
Grid = Callable[[], BeatGrid]


class Boundary:
    """The next multiple of so many beats; it stays one when tempo and phase change."""

    def __init__(self, grid: Grid, beats: float, lead: Callable[[], float], now: float) -> None:
        self._current = grid
        self._beats = beats
        self._lead = lead
        self._grid = grid()
        self._beat = self._grid.boundary(now + lead(), beats)

    def due(self, now: float) -> float:
        """Return when to make a change that is to be seen on the boundary, monotonic seconds."""
        before, self._grid = self._grid, self._current()
        lead = self._lead()
        if abs(self._grid.beat_at(now) - before.beat_at(now)) > JUMP:
            # Another phase: what was the next beat may be over, or minutes away.
            self._beat = self._grid.boundary(now + lead, self._beats)
        return self._grid.time_of(self._beat) - lead

    def same_as(self, other: "Boundary") -> bool:
        """Return whether both wait for the same beat, ahead of it by the same time."""
        return (self._beat, self._lead) == (other._beat, other._lead)


class ChangeScheduler:
    """Context manager with the thread that applies what waits, from when there is anything.

    Args:
        apply: applies messages as one change; called from the thread.
        clock: returns monotonic seconds.
    """

    def __init__(self, apply: Apply, clock: Callable[[], float] = time.monotonic) -> None:
        self._apply = apply
        self._clock = clock
        self._waiting: list[tuple[Boundary, dict[str, Message]]] = []
        self._flush = False
        self._changed = Condition()
        self._stopping = Event()
        self._thread: SupervisedThread | None = None

    def hold(self, messages: Mapping[str, Message], boundary: Boundary) -> None:
        """Let `messages`, by address, wait for `boundary`: the newest of an address counts.

        Raises:
            ParameterError: too many wait; none of these does.
            StreamcamError: no thread can be started.
        """
        with self._changed:
            now = self._clock()
            others = [
                # One that is due already has had its beat; a sender may repeat its values.
                (b, {n: m for n, m in held.items() if n not in messages or b.due(now) <= now})
                for b, held in self._waiting
            ]
            if sum(len(held) for _, held in others) + len(messages) > MAX_WAITING:
                raise ParameterError(f"{MAX_WAITING} changes wait for the beat already")
            if self._thread is None:
                thread = SupervisedThread("beat", self._run, self._stopping)
                thread.start()
                self._thread = thread
            self._waiting = [(b, held) for b, held in others if held]
            for same, held in self._waiting:
                if same.same_as(boundary):
                    held.update(messages)
                    break
            else:
                self._waiting.append((boundary, dict(messages)))
            self._changed.notify()

    @property
    def waiting(self) -> int:
        """Addresses that wait."""
        with self._changed:
            return sum(len(held) for _, held in self._waiting)

    def look_again(self) -> None:
        """Take the beats into account that have been moved."""
        with self._changed:
            self._changed.notify()

    def flush(self) -> None:
        """Apply at once what waits."""
        with self._changed:
            self._flush = True
            self._changed.notify()

    def close(self) -> None:
        """End the thread; what waits is not applied any more."""
        self._stopping.set()
        with self._changed:
            self._waiting.clear()
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for messages in self._take_due():
                self._apply(messages)

    def _take_due(self) -> list[list[Message]]:
        """Wait until something is due, or may be; take it, in the order in which it is due."""
        with self._changed:
            if self._stopping.is_set():  # Asked here, since whoever sets it then wakes a wait.
                return []
            now = self._clock()
            timed = [(b.due(now), b, held) for b, held in self._waiting]
            timed.sort(key=lambda entry: entry[0])
            until = float("inf") if self._flush else now
            self._flush = False
            if due := [list(held.values()) for at, _, held in timed if at <= until]:
                self._waiting = [(b, held) for at, b, held in timed if at > until]
                return due
            self._changed.wait(min(POLL_S, timed[0][0] - now) if timed else None)
            return []
