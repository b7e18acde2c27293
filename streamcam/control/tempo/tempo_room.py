"""Tempo room: binds clock, quantising and modulators to the control surface of a broadcast."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Self

from streamcam.control.commands import only_read
from streamcam.control.messages import Argument, Message
from streamcam.control.surface import ControlSurface
from streamcam.control.tempo.change_scheduler import Boundary, ChangeScheduler
from streamcam.control.tempo.fading_numbers import FADING_NUMBERS
from streamcam.control.tempo.lead_time import LeadTime
from streamcam.control.tempo.link_session import LinkSession, join_session
from streamcam.control.tempo.modulators import Modulators
from streamcam.control.tempo.tempo_clock import TempoClock
from streamcam.control.tempo.tempo_commands import (
    BARS,
    BEATS_PER_BAR,
    BPM,
    LINK,
    MIDI,
    OFF,
    QUANTISE,
    RATE,
    SHAPE_NAMES,
    SHARE,
    SOURCES,
    UNITS,
)
from streamcam.control.values import parse_choice, parse_number
from streamcam.errors import ParameterError
from streamcam.settings.number_range import Range
from streamcam.stats import Status

log = logging.getLogger(__name__)

WITH_PROMPT = ("prompt", "preset/", "cue/")
"""Parts of the addresses that may bring a new prompt."""
Arguments = Sequence[Argument]


class TempoRoom:
    """Context manager: while it is entered, the addresses of tempo and modulators work.

    Args:
        surface: what changes are made through.
        status: returns the figures of the broadcast, for the latency.
        clock: returns monotonic seconds.
        join: joins a session of Ableton Link at a tempo.
    """

    def __init__(
        self,
        surface: ControlSurface,
        status: Callable[[], Status],
        clock: Callable[[], float] = time.monotonic,
        join: Callable[[float], LinkSession] = join_session,
    ) -> None:
        settings = surface.config.broadcast
        self.clock = TempoClock(settings.bpm, settings.beats_per_bar, clock, join)
        """The beats; the MIDI clock goes to its `midi`."""
        self.lead = LeadTime(status, float(settings.rate), clock)
        self.quantise = OFF
        """What changes wait for."""
        self._surface = surface
        self._now = clock
        self._scheduler = ChangeScheduler(self._apply, clock)
        self.clock.on_change = self._scheduler.look_again
        self.clock.on_tempo = surface.notify
        self.modulators = Modulators(
            surface.config, self.clock.grid, self.lead, surface.control.modulate, clock
        )
        self._bind()

    def __enter__(self) -> Self:
        """Begin with the settings; raise ParameterError where Ableton Link is not installed."""
        settings = self._surface.config.broadcast
        if settings.link:
            self.clock.follow(LINK)
        self._set_quantise((settings.quantise,))
        return self

    def __exit__(self, *exception: object) -> None:
        self._surface.hold = None
        self._scheduler.close()
        self.clock.close()

    @property
    def waiting(self) -> int:
        """Addresses whose change waits for the beat."""
        return self._scheduler.waiting

    def _bind(self) -> None:
        bind, clock = self._surface.commands.bind, self.clock
        bind("tempo/tap", lambda _: clock.tap())
        bind("tempo/beat", lambda _: clock.begin_bar())
        bind(
            "tempo/bpm",
            lambda arguments: clock.set_bpm(_number(arguments, BPM)),
            lambda: (round(clock.shown_bpm, 2),),
        )
        bind(
            "tempo/beats_per_bar",
            lambda arguments: clock.set_beats_per_bar(int(_number(arguments, BEATS_PER_BAR))),
            lambda: (clock.grid().beats_per_bar,),
        )
        bind(
            "tempo/source",
            lambda arguments: self._follow(parse_choice(arguments, SOURCES)),
            lambda: (clock.source,),
        )
        bind("tempo/quantise", self._set_quantise, lambda: (self.quantise,))
        bind("tempo/waiting", only_read, lambda: (self._scheduler.waiting,))
        for name in FADING_NUMBERS:
            self._bind_modulator(name)

    def _bind_modulator(self, name: str) -> None:
        def bind(setting: str, parse: Callable[[Arguments], Argument]) -> None:
            self._surface.commands.bind(
                f"mod/{name}/{setting}",
                lambda arguments: self.modulators.set(name, **{setting: parse(arguments)}),
                lambda: (getattr(self.modulators.settings[name], setting),),
            )

        bind("shape", lambda arguments: parse_choice(arguments, SHAPE_NAMES))
        bind("unit", lambda arguments: parse_choice(arguments, UNITS))
        bind("rate", partial(_number, range_=RATE))
        bind("depth", partial(_number, range_=SHARE))
        bind("phase", partial(_number, range_=SHARE))

    def _follow(self, source: str) -> None:
        if source == MIDI and not self._surface.config.broadcast.midi:
            raise ParameterError("there is no MIDI input: start streamcam with --midi auto")
        self.clock.follow(source)

    def _set_quantise(self, arguments: Arguments) -> None:
        self.quantise = parse_choice(arguments, QUANTISE)
        self._surface.hold = None if self.quantise == OFF else self._hold
        if self.quantise == OFF:
            # It was to be on air sooner or later.
            self._scheduler.flush()

    def _hold(self, messages: Mapping[str, Message]) -> None:
        grid = self.clock.grid
        beats = BARS.get(self.quantise, 0) * grid().beats_per_bar or 1
        # What may bring a new prompt is ahead by the time that it takes to encode, too.
        prompt = any(word in address for address in messages for word in WITH_PROMPT)
        lead = self.lead.prompt_s if prompt else self.lead.model_s
        self._scheduler.hold(messages, Boundary(grid, beats, lead, self._now()))

    def _apply(self, messages: Sequence[Message]) -> None:
        try:
            refused = self._surface.apply_at_once(messages).refused
        except Exception:  # What is due besides it must not be lost.
            log.exception("cannot apply what has waited for the beat")
            return
        for address, reason in refused:
            line = f"{address}, which has waited for the beat, is refused: {reason}"
            log.warning("%s", line)
            self._surface.control.notify(line)


def _number(arguments: Arguments, range_: Range) -> float:
    return range_.clamp(parse_number(arguments))
