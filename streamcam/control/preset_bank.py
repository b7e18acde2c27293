"""Bank of presets in memory: of each, the values that it sets on air."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Any

from streamcam.errors import ConfigError, ParameterError
from streamcam.settings.aliases import model_id
from streamcam.settings.base import traits
from streamcam.settings.config import Config
from streamcam.settings.config_layers import MODEL_DEFAULTS, place_in, split_layer
from streamcam.settings.layer import Layer
from streamcam.settings.parameters import NAMED_FIELDS, Parameters
from streamcam.settings.presets import (
    find_presets,
    load_preset,
    model_settings,
    no_preset,
    own_presets,
    protected_presets,
)

LOOK = tuple(name for name in MODEL_DEFAULTS if name in Parameters.model_fields)
"""The values that every preset sets: those for which a model has defaults of its own."""
REFRESH_S = 1.0
MAX_REPORTS = 1000
"""Lines on presets that are left out."""
Clock = Callable[[], float]
STEPS = ("t_index_list", "num_inference_steps")
"""Values that are of use only with the number of steps they were made for."""


class PresetBank:
    """The live values of every preset, read at start and when asked to.

    No message names a file: it can only ask for a preset by its name, or that all be read again.

    Loading a preset gives the same output whatever was loaded before it: every preset sets the
    same values, those of the look and those that any preset holds. Where it does not hold one, it
    sets the model's default, or what the broadcast began with if a model has none.
    """

    def __init__(
        self, config: Config, report: Callable[[str], None], clock: Clock = time.monotonic
    ) -> None:
        self.current: str | None = None
        """The preset loaded last."""
        self.protected: Mapping[str, str] = {}
        """Why presets that are not the user's own stay as they are, by name in small letters."""
        self.own: frozenset[str] = frozenset()
        """Names of the presets in the user's folder."""
        self._config = config
        self._report = report
        self._clock = clock
        self._next_refresh = 0.0
        self._reported: set[str] = set()
        self._publishing = Lock()
        self._begun = self._published = 0
        self._files: dict[str, tuple[int, int]] = {}
        self._changes: dict[str, dict[str, Any]] = {}
        self.reload()

    def refresh(self) -> None:
        """Read the presets again if a file has changed; once a second at the most."""
        if self._clock() < self._next_refresh:
            return
        self._next_refresh = self._clock() + REFRESH_S
        if _files() != self._files:
            self.reload()

    def reload(self) -> None:
        """Read the presets again; of several threads that do, the one that began last counts."""
        with self._publishing:
            self._begun += 1
            number = self._begun
        files, protected, own = _files(), protected_presets(), frozenset(own_presets())
        changes = self._read()
        with self._publishing:
            if number > self._published:
                self.protected, self.own = protected, own
                self._published, self._files, self._changes = number, files, changes

    @property
    def defaults(self) -> Parameters:
        """The values that a preset sets where it holds none."""
        return _with_model_defaults(self._config)

    def _read(self) -> dict[str, dict[str, Any]]:
        """Return the values that each preset sets."""
        config = self._config
        start = _with_model_defaults(config)
        held: dict[str, dict[str, Any]] = {}
        for name, path in sorted(find_presets().items()):
            try:
                values = _live_values(load_preset(str(path)), config, start)
            except ConfigError as error:
                self._report_once(f"preset {name} is left out: {error}")
            else:
                # One made for another model, or without live values, has no use on air.
                if values:
                    held[name] = values
        fields = dict.fromkeys((*LOOK, *(field for values in held.values() for field in values)))
        loaded = {name: start.changed(values) for name, values in held.items()}
        return {
            name: {field: getattr(parameters, field) for field in fields}
            for name, parameters in loaded.items()
        }

    def _report_once(self, line: str) -> None:
        if line not in self._reported and len(self._reported) < MAX_REPORTS:
            self._reported.add(line)
            self._report(line)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._changes)

    def changes(self, name: str) -> dict[str, Any]:
        """Return the live values that a preset sets; raise ParameterError if there is none."""
        if name not in self._changes:
            raise ParameterError(no_preset(name, self.names))
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


def _files() -> dict[str, tuple[int, int]]:
    """Return the time of change and the size of every preset's file, by its path."""
    files = {}
    for path in find_presets().values():
        with suppress(OSError):  # It has been deleted just now.
            found = path.stat()
            files[str(path)] = (found.st_mtime_ns, found.st_size)
    return files


def _with_model_defaults(config: Config) -> Parameters:
    """Return the values that the broadcast began with, those of the look as the model sets them."""
    look = {name: Parameters.model_fields[name].get_default() for name in LOOK}
    if config.timesteps is not None:
        look["num_inference_steps"] = len(config.timesteps)
    start = config.live.model_copy(update=look)
    return start.changed(_live_values(model_settings(config.model, MODEL_DEFAULTS), config, start))


def _live_values(layer: Layer, config: Config, start: Parameters) -> dict[str, Any]:
    """Return the live values in `layer` that a stream of `config` can run when set from `start`.

    Raises:
        ConfigError: a setting is unknown, or a live value is refused.
    """
    fixed, live = split_layer(layer)
    if model_id(str(fixed.get("model", config.model))) != config.model:
        # Its numbers were chosen for another model and mean nothing here.
        return {}
    parsed = Parameters.parse(live, place=partial(place_in, [layer]))
    values = {
        name: getattr(parsed, name)
        for name in live
        if not traits(Parameters.model_fields[name]).trigger
    }
    # Numbers of what this broadcast has not loaded, such as a LoRA, have no effect here.
    values |= {
        name: config.known_numbers(name, value)
        for name, value in values.items()
        if name in NAMED_FIELDS
    }
    try:
        config.check(start.changed(values))
    except ParameterError:
        # For another number of steps: the rest of the preset still applies.
        return {name: value for name, value in values.items() if name not in STEPS}
    return values
