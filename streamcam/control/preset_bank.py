"""Presets in memory: what of each can be taken over while on air."""

from collections.abc import Callable
from typing import Any

from streamcam.errors import ConfigError, ParameterError, suggest
from streamcam.settings.base import canonical
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import load, presets

COUNTERS = ("reset", "snapshot")


class Presets:
    """The live values of every preset, read once, so that no message reaches a file."""

    def __init__(self, config: Config, report: Callable[[str], None]) -> None:
        self.current: str | None = None
        """The one loaded last."""
        self._changes: dict[str, dict[str, Any]] = {}
        for name in sorted(presets()):
            try:
                self._changes[name] = _live(load(name), config)
            except ConfigError as error:
                report(f"preset {name} is left out: {error}")
        # What is made for another model, or holds no look, has nothing to give to a running stream.
        self._changes = {name: changes for name, changes in self._changes.items() if changes}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._changes)

    def changes(self, name: str) -> dict[str, Any]:
        """Return the live values of a preset; raise ParameterError where there is none."""
        if name not in self._changes:
            raise ParameterError(f'no preset "{name:.40}": {suggest(name[:40], self.names)}')
        return self._changes[name]

    def beside(self, step: int, of: str | None) -> str:
        """Return the preset `step` places from `of`, going round; from the ends at first."""
        if not self.names:
            raise ParameterError("there are no presets")
        at = self.names.index(of) if of in self.names else (-1 if step > 0 else 0)
        return self.names[(at + step) % len(self.names)]


def _live(settings: dict[str, Any], config: Config) -> dict[str, Any]:
    """Return what of `settings` is live and runs in the structure that was fixed at start."""
    known = canonical(Parameters)
    models = [value for name, value in settings.items() if canonical(Config).get(name) == "model"]
    if models and models[-1] != config.model:
        # Made for another model, its numbers mean nothing here.
        return {}
    live: dict[str, Any] = {}
    for name, value in settings.items():
        if name in known and known[name] not in COUNTERS:
            own = known[name]
            try:
                live[own] = getattr(config.changed(config.live, {own: value}), own)
            except ParameterError:
                # t_index_list of another number of steps, say: the rest of the look still holds.
                continue
    return live
