"""The one mutable cell of the house: what the operator has set, as whole snapshots."""

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from streamcam.settings.config import Config
from streamcam.settings.parameters import MAX_PROMPTS, Parameters

Listener = Callable[[Parameters, Parameters], None]
"""Told of every change: the snapshot before it and the one after it."""

Changes = Mapping[str, Any]
"""Values by field name."""

Clock = Callable[[], float]


class Control:
    """Holds the newest `Parameters`. Anyone may change it from any thread; readers never wait."""

    def __init__(self, config: Config, clock: Clock = time.monotonic) -> None:
        self.parameters = config.live
        """The newest snapshot; take it once and use it whole."""
        self.target = config.live
        """What the operator has set: the end of the fade under way, else the newest snapshot."""
        self._config = config
        self._clock = clock
        self._lock = Lock()
        self._listeners: list[Listener] = []
        self._fade: _Fade | None = None

    def change(self, changes: Changes, *, over: float | None = None) -> Parameters:
        """Apply `changes` as one, fading over so many seconds what can be faded.

        Args:
            changes: values by field name.
            over: seconds; by default ``prompt_time`` where a text changes and 0 for all else.

        Returns:
            The snapshot that they lead to, at the end of the fade.

        Raises:
            ParameterError: one of them is refused, and none was applied.
        """
        return self.update(lambda _target: (changes, over))

    def update(self, decide: Callable[[Parameters], tuple[Changes, float | None]]) -> Parameters:
        """Apply as one what `decide` makes of the target, which nobody else changes meanwhile.

        Args:
            decide: takes what the operator has set, gives the arguments of `change`; must be quick.

        Raises:
            ParameterError: a change is refused, and none was applied.
        """
        with self._lock:
            changes, over = decide(self.target)
            before, self.target = self.target, self._config.changed(self.target, changes)
            # What changes nothing must not begin the fade anew: some senders repeat themselves.
            if self.target != before:
                if over is None:
                    over = self.target.prompt_time if _texts(self.target) != _texts(before) else 0.0
                self._head_for(over)
            return self.target

    def _head_for(self, over: float) -> None:
        if over > 0:
            self._fade = _Fade(self.parameters, self.target, self._clock(), over)
            self._publish(_between(self.parameters, self.target, 0.0))
        elif self._fade:
            # A knob turned during a fade takes effect at once, and the fade goes on.
            self._fade = self._fade.towards(self.target)
            self._publish(self._fade.at(self._clock()))
        else:
            self._publish(self.target)

    def advance(self) -> Parameters:
        """Carry a fade on to this moment, if one is under way; return the newest snapshot."""
        if self._fade:
            with self._lock:
                if self._fade:
                    now = self._clock()
                    self._publish(self._fade.at(now))
                    if now >= self._fade.end:
                        self._fade = None
        return self.parameters

    def listen(self, listener: Listener) -> None:
        """Call `listener` after every change, from the thread that made it; it must not block."""
        self._listeners.append(listener)

    def _publish(self, after: Parameters) -> None:
        before, self.parameters = self.parameters, after
        if after != before:
            for listener in self._listeners:
                listener(before, after)


class _Fade:
    """From one snapshot to another over `seconds`."""

    def __init__(self, before: Parameters, after: Parameters, start: float, seconds: float) -> None:
        self.before, self.after, self.start, self.seconds = before, after, start, seconds
        self.end = start + seconds

    def towards(self, after: Parameters) -> "_Fade":
        """Return the same fade with another end: what differs between the ends jumps there."""
        names = type(after).model_fields
        jumps = {n: v for n in names if (v := getattr(after, n)) != getattr(self.after, n)}
        return _Fade(self.before.model_copy(update=jumps), after, self.start, self.seconds)

    def at(self, now: float) -> Parameters:
        return _between(self.before, self.after, min((now - self.start) / self.seconds, 1.0))


GLIDING = ("guidance_scale", "delta", "mix")


def _between(before: Parameters, after: Parameters, t: float) -> Parameters:
    """Return `after` with what can glide still `t` of the way from `before`."""
    if t >= 1 or before == after:
        return after
    values: dict[str, Any] = {
        name: (1 - t) * getattr(before, name) + t * getattr(after, name) for name in GLIDING
    }
    if before.strength is not None and after.strength is not None:
        values["strength"] = (1 - t) * before.strength + t * after.strength
    for name in ("prompt", "negative_prompt"):
        values[name] = _blend(getattr(before, name), getattr(after, name), t)
    return after.model_copy(update=values)


def _texts(parameters: Parameters) -> list[list[str]]:
    prompts = (parameters.prompt, parameters.negative_prompt)
    return [[text for text, weight in prompt if weight] for prompt in prompts]


Texts = tuple[tuple[str, float], ...]


def _blend(before: Texts, after: Texts, t: float) -> Texts:
    """Return the texts of both with their shares of the whole, those of `before` going out."""
    if before == after:
        return after
    shares: dict[str, float] = {}
    for texts, part in ((after, t), (before, 1 - t)):
        total = sum(weight for _, weight in texts)
        for text, weight in texts:
            shares[text] = shares.get(text, 0.0) + part * weight / total
    strongest = sorted(shares.items(), key=lambda item: -item[1])[:MAX_PROMPTS]
    return tuple((text, share) for text, share in strongest if share > 0)
