"""The live state: the newest snapshot of the parameters, and fades from one to the next."""

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from streamcam.control.easings import EASINGS
from streamcam.control.model_values import Item, items_of, with_values_of
from streamcam.errors import ParameterError
from streamcam.settings.base import traits
from streamcam.settings.config import Config
from streamcam.settings.named_numbers import blended, is_named_numbers
from streamcam.settings.parameters import Parameters
from streamcam.settings.value_types import MAX_PROMPTS, Easing, Prompt, is_prompt

Listener = Callable[[Parameters, Parameters], None]
"""Called after every change with the snapshots before and after it."""

Changes = Mapping[str, Any]
"""Values by field name."""

Clock = Callable[[], float]

Modulate = Callable[[Parameters, float], Parameters]
"""Returns a snapshot with numbers that swing around those in it, at monotonic seconds."""

NOTICE_S = 10.0
"""Seconds for which a notice to the operator is shown."""


class Fade(NamedTuple):
    """The way in which values that can fade get to their end."""

    seconds: float
    easing: Easing = "linear"


Decide = Callable[[Parameters], tuple[Changes, float | Fade | None]]
"""Takes the target; returns the changes to it, and their fade, None for the default."""


class Control:
    """One mutable cell for the newest `Parameters`: any thread may change it, no reader waits.

    Two locks: changes are decided one after the other, which may take as long as a large bundle
    that contradicts itself does. The output's clock, which moves the fade, never waits for that.
    """

    def __init__(self, config: Config, clock: Clock = time.monotonic) -> None:
        self.parameters = config.live
        """The newest snapshot; read it once and use all of it."""
        self.target = config.live
        """The operator's latest choice: the end of the current fade, or the newest snapshot."""
        self.preset: str | None = None
        """Name of the preset that was loaded last."""
        self._notice: tuple[str, float] = ("", 0.0)
        self.obs = ""
        """State of OBS: live, recording, idle or not connected; empty where it is not in use."""
        self._config = config
        self._clock = clock
        self._deciding = Lock()
        self._publishing = Lock()
        self._listeners: list[Listener] = []
        self._fade: _Fade | None = None
        self._faded = config.live
        """The newest snapshot without modulation."""
        self._modulate: Modulate | None = None
        self._refused: dict[Item, str] = {}

    @property
    def notice(self) -> str:
        """The last line for the operator, for as long as it is news."""
        text, until = self._notice
        return text if self._clock() < until else ""

    def notify(self, notice: str) -> None:
        """Show a line to the operator with the figures, for `NOTICE_S`."""
        self._notice = (notice, self._clock() + NOTICE_S)

    def change(self, changes: Changes, *, over: float | Fade | None = None) -> Parameters:
        """Apply `changes` as one; values that can fade do so over that many seconds.

        Args:
            changes: values by field name.
            over: seconds, or a fade; by default ``prompt_time`` if a text changes, else 0.

        Returns:
            The snapshot at the end of the fade.

        Raises:
            ParameterError: one of them is refused, and none was applied.
        """
        return self.update(lambda _target: (changes, over))

    def update(self, decide: Decide) -> Parameters:
        """Apply the changes that `decide` makes from the target, which nothing else changes then.

        Args:
            decide: takes the target, returns the arguments of `change`.

        Raises:
            ParameterError: a change is refused, and none was applied.
        """
        with self._deciding:
            before = self.target
            changes, over = decide(before)
            target = self._config.changed(before, changes)
            self._check_refused(target)
            if over is None:
                over = target.prompt_time if _texts(target) != _texts(before) else 0.0
            with self._publishing:
                self.target = target
                # No change must not restart the fade: some senders repeat a value all the time.
                if target != before:
                    self._move_to_target(over if isinstance(over, Fade) else Fade(over))
            return target

    def refuse(self, items: Iterable[Item], why: str, instead: Parameters) -> None:
        """Refuse values from now on, and go back to those of `instead` where the model reads them.

        Args:
            items: the values, of which the present ones need not have any.
            why: the error that whoever sets them again gets.
            instead: a snapshot that works.
        """
        with self._deciding, self._publishing:
            self._refused |= dict.fromkeys(items, why)
            if self._refused.keys() & (items_of(self.target) | items_of(self.parameters)):
                self.target, self._fade = with_values_of(self.target, instead), None
                self._publish(self.target)

    def _check_refused(self, target: Parameters) -> None:
        """Raise ParameterError for a target with values that are refused."""
        if self._refused:
            for item in items_of(target) & self._refused.keys():
                raise ParameterError(self._refused[item])

    def _move_to_target(self, over: Fade) -> None:
        if over.seconds > 0:
            self._fade = _Fade(self._faded, self.target, self._clock(), over)
            self._publish(_between(self._faded, self.target, 0.0))
        elif self._fade:
            # A change without a fade takes effect at once, and the current fade goes on.
            self._fade = self._fade.retargeted(self.target)
            self._publish(self._fade.at(self._clock()))
        else:
            self._publish(self.target)

    def modulate(self, modulate: Modulate | None) -> None:
        """Change every snapshot by `modulate` from now on, at every `advance`; None for not."""
        with self._publishing:
            self._modulate = modulate
            self._publish(self._faded)

    def advance(self) -> Parameters:
        """Move the current fade and what is modulated to the present; return the snapshot."""
        if self._fade or self._modulate:
            with self._publishing:
                now = self._clock()
                faded = self._fade.at(now) if self._fade else self._faded
                if self._fade and now >= self._fade.end:
                    self._fade = None
                self._publish(faded)
        return self.parameters

    def listen(self, listener: Listener) -> None:
        """Call `listener` after every change, from the thread that made it; it must not block."""
        self._listeners.append(listener)

    def _publish(self, faded: Parameters) -> None:
        """Make a snapshot the newest one, modulated if anything is."""
        self._faded = faded
        after = self._modulate(faded, self._clock()) if self._modulate else faded
        before, self.parameters = self.parameters, after
        if after != before:
            for listener in self._listeners:
                listener(before, after)


class _Fade:
    """A fade from one snapshot to another."""

    def __init__(self, before: Parameters, after: Parameters, start: float, over: Fade) -> None:
        self.before, self.after, self.start, self.over = before, after, start, over
        self.end = start + over.seconds

    def retargeted(self, after: Parameters) -> "_Fade":
        """Return this fade with another end; values in which the two ends differ jump at once."""
        names = type(after).model_fields
        jumps = {n: v for n in names if (v := getattr(after, n)) != getattr(self.after, n)}
        return _Fade(self.before.model_copy(update=jumps), after, self.start, self.over)

    def at(self, now: float) -> Parameters:
        t = min((now - self.start) / self.over.seconds, 1.0)
        return _between(self.before, self.after, EASINGS[self.over.easing](t))


def _between(before: Parameters, after: Parameters, t: float) -> Parameters:
    """Return `after`, with the values that fade only `t` of the way from `before`."""
    if t >= 1 or before == after:
        return after
    values: dict[str, Any] = {}
    for name, field in type(after).model_fields.items():
        old, new = getattr(before, name), getattr(after, name)
        # A number that is not set at both ends has nothing to fade between.
        if traits(field).fades and old is not None and new is not None:
            values[name] = _blend_of(field)(old, new, t)
    return after.model_copy(update=values)


def _blend_of(field: FieldInfo) -> Callable[[Any, Any, float], Any]:
    if is_prompt(field):
        return _blend_prompts
    return blended if is_named_numbers(field) else _blend_numbers


def _texts(parameters: Parameters) -> list[list[str]]:
    """Return the texts with a weight, prompt by prompt."""
    return [
        [text for text, weight in getattr(parameters, name) if weight]
        for name, field in type(parameters).model_fields.items()
        if is_prompt(field)
    ]


def _blend_numbers(before: float, after: float, t: float) -> float:
    return (1 - t) * before + t * after


def _blend_prompts(before: Prompt, after: Prompt, t: float) -> Prompt:
    """Return the texts of both, each weighted by its share; those of `before` fade out."""
    if before == after:
        return after
    shares: dict[str, float] = {}
    for texts, part in ((after, t), (before, 1 - t)):
        total = sum(weight for _, weight in texts)
        for text, weight in texts:
            shares[text] = shares.get(text, 0.0) + part * weight / total
    strongest = sorted(shares.items(), key=lambda item: -item[1])[:MAX_PROMPTS]
    return tuple((text, share) for text, share in strongest if share > 0)
