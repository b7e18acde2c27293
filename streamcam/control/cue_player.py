"""Play a cue list on air: GO, back, jump, and the cues that go by themselves."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from threading import Condition, Event
from typing import Any, Self

from streamcam.control.commands import only_read
from streamcam.control.cue_commands import NO_LIST
from streamcam.control.cue_list import Cue, CueList, load_cue_list
from streamcam.control.file_jobs import FileJobs
from streamcam.control.messages import Argument
from streamcam.control.state import Fade
from streamcam.control.surface import ControlSurface
from streamcam.control.values import parse_text
from streamcam.errors import ParameterError, StreamcamError, suggest
from streamcam.settings.cue_settings import find_cue_lists
from streamcam.settings.parameters import Parameters
from streamcam.settings.safe_names import safe_name
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

WALL_CHECK_S = 10.0
"""Seconds after which the time of day is read again: somebody may set the clock."""
LATE_S = 60.0
"""Seconds after its time at which a cue is missed, as after a sleep of the machine."""
STOP_S = 2.0


class CuePlayer:
    """Plays the cues of a list, and takes another list by its name; enter it to bind its commands.

    All that changes does so between two packets, so that a GO that comes while a cue is about to
    follow by itself plays one cue, not two.

    Args:
        surface: what the cues change.
        jobs: reads other lists.
        cues: the list to begin with, None for none.
        clock: monotonic seconds.
        wall: the local time, without a zone.
    """

    def __init__(
        self,
        surface: ControlSurface,
        jobs: FileJobs,
        cues: CueList | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._surface = surface
        self._jobs = jobs
        self._cues = cues or CueList("", ())
        self._lists: tuple[str, ...] = ()
        self._notice = ""
        self._clock = clock
        self._wall = wall
        self._current: int | None = None
        self._follow_at: float | None = None
        """Monotonic time at which the next cue goes by itself."""
        self._wall_seen = wall()
        """Time of day up to which cues have gone."""
        self._wake = Condition()
        self._stopping = Event()
        self._thread = SupervisedThread("cues", self._wait_and_play, self._stopping)

    def __enter__(self) -> Self:
        commands = self._surface.commands
        commands.bind("cue/go", self._go)
        commands.bind("cue/back", self._back)
        commands.bind("cue/jump", self._jump)
        commands.bind("cue/current", only_read, lambda: (self._name(self._current),))
        commands.bind("cue/next", only_read, lambda: (self._name(self._next),))
        commands.bind("cue/names", only_read, lambda: self._cues.names)
        commands.bind("cue/load", self._load, lambda: (self._cues.name,))
        commands.bind("cue/lists", only_read, lambda: self._lists)
        commands.bind("cue/notice", only_read, lambda: (self._notice,))
        self._lists = tuple(sorted(find_cue_lists()))
        self._wall_seen = self._wall()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._wake:
            self._stopping.set()
            self._wake.notify()
        self._thread.join(STOP_S)

    @property
    def _next(self) -> int | None:
        return self._cues.after(self._current)

    def _name(self, place: int | None) -> str:
        return "" if place is None else self._cues.names[place]

    def _go(self, _arguments: Sequence[Argument]) -> None:
        following = self._next
        if not self._cues.cues:
            raise ParameterError(NO_LIST)
        if following is None:
            raise ParameterError(
                f"the cue list is at its end; {self._surface.prefix}/cue/jump 1 begins again"
            )
        # From the last cue to the first, the list begins again.
        self._play(following, as_from_start=self._current is not None and following == 0)

    def _back(self, _arguments: Sequence[Argument]) -> None:
        if not self._current:
            raise ParameterError("there is no cue before this one")
        self._play(self._current - 1, as_from_start=True, follows=False)

    def _jump(self, arguments: Sequence[Argument]) -> None:
        if not self._cues.cues:
            raise ParameterError(NO_LIST)
        self._play(self._cues.find(arguments), as_from_start=True)

    def _load(self, arguments: Sequence[Argument]) -> None:
        # A name alone, so that no message can lead to a file elsewhere.
        name = safe_name(parse_text(arguments), "a cue list")
        self._jobs.add(partial(self._read, name), self._tell)

    def _read(self, name: str) -> str:
        known = find_cue_lists()
        self._lists = tuple(sorted(known))
        if name not in known:
            hint = suggest(name, known) if known else "there are none"
            raise ParameterError(f'no cue list "{name}": {hint}')
        cues = load_cue_list(known[name], self._surface.config, self._surface.presets)
        self._surface.between_packets(partial(self._begin, cues))
        return f'cue list "{name}": {len(cues.cues)} cues, the first is "{cues.names[0]}"'

    def _begin(self, cues: CueList) -> None:
        with self._wake:
            place = self._name(self._current)
            if cues.name == self._cues.name and place in cues.names:
                # Edited during the show: it goes on from the cue that is on.
                self._current = cues.names.index(place)
            else:
                self._current = self._follow_at = None
            self._cues = cues
            self._wall_seen = self._wall()
            self._wake.notify()

    def _play(
        self, place: int, *, as_from_start: bool, follows: bool = True, due: float | None = None
    ) -> None:
        """Play the cue at `place`.

        Args:
            place: in the list, from 0.
            as_from_start: set what the cues before it lead to as well.
            follows: whether the next cue may go by itself.
            due: monotonic time that it was to go at; by default now.

        Raises:
            ParameterError: it is refused; everything stays as it was.
        """
        cue = self._cues.cues[place]

        def decide(target: Parameters) -> tuple[dict[str, Any], Fade]:
            changes = cue.changes(self._surface.presets)
            if as_from_start:
                start = self._surface.config.live
                changes = self._cues.look_at(place, start, self._surface.presets)
            raised = {name: getattr(target, name) + 1 for name in cue.triggers}
            return changes | raised, cue.fade

        try:
            preset = self._cues.preset_at(place) if as_from_start else cue.preset
            self._surface.update(decide, preset)
        except ParameterError as error:
            raise ParameterError(f'the cue "{cue.name}" cannot be played: {error}') from None
        log.info('cue %d, "%s"', place + 1, cue.name)
        with self._wake:
            self._current = place
            waits = follows and cue.follow_s is not None
            went = self._clock() if due is None else due
            self._follow_at = went + (cue.follow_s or 0.0) if waits else None
            self._wake.notify()

    # ---- Cues that go by themselves

    def _wait_and_play(self) -> None:
        while not self._stopping.is_set():
            with self._wake:
                wait_s = self._seconds_left()
                if wait_s is None or wait_s > 0:
                    self._wake.wait(wait_s)
                    continue
            self._surface.between_packets(self._play_what_is_due)

    def _seconds_left(self) -> float | None:
        """Return the seconds until something may be due; None if nothing will be."""
        waits: list[float] = []
        if self._follow_at is not None:
            waits.append(self._follow_at - self._clock())
        if any(cue.at for cue in self._cues.cues):
            now = self._wall()
            waits.append(WALL_CHECK_S)
            waits += [(when - now).total_seconds() for when, _, _ in self._occurrences(now)]
        return min(waits, default=None)

    def _play_what_is_due(self) -> None:
        due, time_ = self._follow_at, self._clock()
        if due is not None and time_ >= due:
            self._follow_at = None
            following = self._next
            if following is not None:
                # In time with the one before; after a sleep of the machine there is no catching up.
                went = due if time_ - due < 1.0 else time_
                self._play_by_itself(following, as_from_start=following == 0, due=went)
        self._play_what_is_timed()

    def _play_what_is_timed(self) -> None:
        now = self._wall()
        due = [found for found in self._occurrences(now) if found[0] <= now]
        # When the clocks go back, what has gone by is not played again; a clock that was wrong
        # by more is simply believed.
        if now > self._wall_seen or self._wall_seen - now > timedelta(hours=2):
            self._wall_seen = now
        for when, place, cue in due:
            if (now - when).total_seconds() > LATE_S:
                self._warn(f'the cue "{cue.name}" was missed: its time was {cue.at}')
            else:
                self._play_by_itself(place, as_from_start=True)

    def _occurrences(self, now: datetime) -> Iterator[tuple[datetime, int, Cue]]:
        """Yield the times from `_wall_seen` on, today and tomorrow, and what goes then."""
        found = [
            (datetime.combine(day, cue.at), place, cue)
            for place, cue in enumerate(self._cues.cues)
            for day in _days(self._wall_seen.date(), now.date())
            if cue.at is not None
        ]
        return iter(sorted(item for item in found if item[0] > self._wall_seen))

    def _play_by_itself(self, place: int, *, as_from_start: bool, due: float | None = None) -> None:
        try:
            self._play(place, as_from_start=as_from_start, due=due)
        except StreamcamError as error:
            self._warn(str(error))

    def _warn(self, line: str) -> None:
        log.warning("%s", line)
        self._tell(line)

    def _tell(self, line: str) -> None:
        self._notice = line
        self._surface.control.notify(line)
        self._surface.notify()


def _days(first: date, last: date) -> Sequence[date]:
    """Return the days that times may fall on: those two, and the one after each."""
    day = timedelta(days=1)
    return sorted({first, first + day, last, last + day})
