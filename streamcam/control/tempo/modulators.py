"""Modulators: numbers that swing around the value that the operator has set."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from streamcam.control.addresses import OUTPUT_GROUPS
from streamcam.control.tempo.beat_grid import BeatGrid
from streamcam.control.tempo.fading_numbers import FADING_NUMBERS
from streamcam.control.tempo.lead_time import LeadTime
from streamcam.control.tempo.tempo_commands import BEATS, OFF
from streamcam.control.tempo.wave_shapes import SHAPES
from streamcam.settings.base import traits
from streamcam.settings.config import Config
from streamcam.settings.faders import fader_ranges
from streamcam.settings.parameters import Parameters

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Modulator:
    """Settings of the modulator of one parameter."""

    shape: str = OFF
    """off, or one of `SHAPES`."""
    rate: float = 4.0
    """Beats that a cycle lasts, or cycles per second."""
    unit: str = BEATS
    """beats or hz, of the rate."""
    depth: float = 0.0
    """Swing to either side, as a share of what the parameter's fader spans."""
    phase: float = 0.0
    """Share of a cycle that it is ahead."""
    number: int = 0
    """Whole cycles that it is ahead, so that two that are random differ."""
    since: float = 0.0
    """Monotonic seconds from which cycles per second are counted."""
    before: float = 0.0
    """Cycles that had gone by then."""

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self.shape != OFF and self.depth > 0

    def cycles(self, grid: BeatGrid, at: float) -> float:
        """Return how many cycles have gone at a monotonic time."""
        if self.unit == BEATS:
            gone = grid.beat_at(at) / self.rate
        else:
            gone = self.before + (at - self.since) * self.rate
        return gone + self.phase + self.number

    def changed(self, grid: BeatGrid, now: float, changes: Mapping[str, Any]) -> "Modulator":
        """Return it with other settings; at another rate in Hz it goes on from where it is."""
        gone = self.cycles(grid, now) - self.phase - self.number
        return replace(self, since=now, before=gone, **changes)

    def swing(self, grid: BeatGrid, at: float) -> float:
        """Return the distance from the operator's value, as a share of what its fader spans."""
        return self.depth * SHAPES[self.shape](self.cycles(grid, at))


class Modulators:
    """The modulators of all parameters that fade; where all are off, they cost nothing.

    Args:
        config: says where a strength begins that is not set.
        grid: returns the beats now.
        lead: how much earlier than the image a value has to change.
        install: takes the function that changes every snapshot, None while all are off.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        config: Config,
        grid: Callable[[], BeatGrid],
        lead: LeadTime,
        install: Callable[[Callable[[Parameters, float], Parameters] | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings: Mapping[str, Modulator] = {
            name: Modulator(number=number) for number, name in enumerate(FADING_NUMBERS)
        }
        """The modulators by the name of their parameter."""
        self._clock = clock
        self._default_strength = config.default_strength
        self._ranges = fader_ranges(config.broadcast.faders)
        self._grid = grid
        self._lead = lead
        self._install = install
        self._has_failed = False
        self._active: tuple[tuple[str, Modulator], ...] = ()

    def set(self, name: str, **changes: Any) -> None:
        """Change settings of the modulator of the parameter `name`."""
        seen_at = self._clock() + self._ahead_s(name)
        after = self.settings[name].changed(self._grid(), seen_at, changes)
        self.settings = {**self.settings, name: after}
        self._active = tuple((n, m) for n, m in self.settings.items() if m.active)
        self._install(self.modulated if self._active else None)

    @property
    def active(self) -> bool:
        """Whether any of them changes anything."""
        return bool(self._active)

    def modulated(self, parameters: Parameters, now: float) -> Parameters:
        """Return `parameters` with the numbers that are to be in use at a monotonic time."""
        try:
            parameters = self._modulated(parameters, now)
            self._has_failed = False
        except Exception:
            # The output's clock calls this: whatever is wrong here, the operator's values are good.
            if not self._has_failed:
                log.exception("cannot modulate; the values are used as they are set")
            self._has_failed = True
        return parameters

    def _modulated(self, parameters: Parameters, now: float) -> Parameters:
        grid = self._grid()
        values: dict[str, float] = {}
        for name, modulator in self._active:
            value = getattr(parameters, name)
            if name == "strength" and value is None and parameters.t_index_list is None:
                value = self._default_strength
            if value is None:
                continue  # The exact indices are in use instead.
            whole, fader = self._ranges[name], self._ranges[name].fader
            swing = modulator.swing(grid, now + self._ahead_s(name)) * (fader.high - fader.low)
            # Around a value that was set by number, beyond the fader, it swings to both sides.
            limits = fader if fader.low <= value <= fader.high else whole
            values[name] = float(limits.clamp(value + swing))
        return parameters.model_copy(update=values) if values else parameters

    def _ahead_s(self, name: str) -> float:
        """Return the seconds until a value of now is seen, which is to be on the beat then."""
        return self._lead.output_s if name in _ON_OUTPUT else self._lead.model_s()


_ON_OUTPUT = tuple(
    name for name in FADING_NUMBERS if traits(Parameters.model_fields[name]).group in OUTPUT_GROUPS
)
