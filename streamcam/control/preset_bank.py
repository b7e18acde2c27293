"""Bank of presets in memory: of each, the values that may change on air."""

from collections.abc import Callable
from typing import Any

from streamcam.errors import ConfigError, ParameterError, suggest
from streamcam.settings.base import accepted_names, traits
from streamcam.settings.config import Config
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import find_presets, load_preset


class PresetBank:
    """The live values of every preset, read once at start, so that no message reaches a file."""

    def __init__(self, config: Config, report: Callable[[str], None]) -> None:
        self.current: str | None = None
        """The preset loaded last."""
        self._changes: dict[str, dict[str, Any]] = {}
        for name in sorted(find_presets()):
            try:
                changes = _live_values(load_preset(name), config)
            except ConfigError as error:
                report(f"preset {name} is left out: {error}")
            else:
                # One made for another model, or without live values, has no use on air.
                if changes:
                    self._changes[name] = changes

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._changes)

    def changes(self, name: str) -> dict[str, Any]:
        """Return the live values of a preset; raise ParameterError if there is none."""
        if name not in self._changes:
            raise ParameterError(f'no preset "{name:.40}": {suggest(name[:40], self.names)}')
        return self._changes[name]

    def step(self, step: int, start: str | None) -> str:
        """Return the preset `step` places after `start`, wrapping round.

        Without a `start`, the first step forward is to the first preset, and back to the last.
        """
        if not self.names:
            raise ParameterError("there are no presets")
        before_first = -1 if step > 0 else 0
        place = self.names.index(start) if start in self.names else before_first
        return self.names[(place + step) % len(self.names)]


def _live_values(settings: dict[str, Any], config: Config) -> dict[str, Any]:
    """Return the live values in `settings` that a stream of `config` can run."""
    fixed, live = accepted_names(Config), accepted_names(Parameters)
    models = [value for name, value in settings.items() if fixed.get(name) == "model"]
    if models and models[-1] != config.model:
        # Its numbers were chosen for another model and mean nothing here.
        return {}
    changes: dict[str, Any] = {}
    for name, value in settings.items():
        field = live.get(name)
        if field is None or traits(Parameters.model_fields[field]).trigger:
            continue
        try:
            changes[field] = getattr(config.changed(config.live, {field: value}), field)
        except ParameterError:
            # A t_index_list of another number of steps, say: the rest of the preset still applies.
            continue
    return changes
