"""Make a Config of layers: the model's own settings, presets, TOML files, flags and ``--set``."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from streamcam.errors import ConfigError, suggest
from streamcam.settings.base import Settings, traits
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import FIXED_NAMES, LIVE_NAMES, PARTS, Config
from streamcam.settings.faders import Span, merged_faders
from streamcam.settings.layer import place_of
from streamcam.settings.model_settings import AUTO
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import model_settings
from streamcam.settings.value_types import parse_index_list
from streamcam.settings.video_settings import VideoSettings

MODEL_DEFAULTS = tuple(
    name
    for table in (Config, BroadcastSettings, Parameters)
    for name, field in table.model_fields.items()
    if traits(field).model_default
)
"""The settings that a model's own folder may set."""


def build_config(layers: Iterable[Mapping[str, Any]]) -> Config:
    """Return the Config made of `layers`, flat tables of settings, later ones winning.

    The settings in the model's own folder come first, so all layers win over them.

    Raises:
        ConfigError: a name is unknown (the nearest is named) or a value is refused.
    """
    layers = list(layers)
    models = [split_layer(layer)[0].get("model") for layer in layers]
    model = next((name for name in reversed(models) if isinstance(name, str)), AUTO)
    own = model_settings(model, MODEL_DEFAULTS)
    # A size that was given wins over the shape that a model asks for, and stays.
    if any(name in layer for layer in layers for name in ("width", "height")):
        own.pop("shape", None)
        own.pop("grow_to", None)
    layers = [own, *layers]
    fixed, live = _merge(layers)
    tables: dict[str, type[Settings]] = {"broadcast": BroadcastSettings, "video": VideoSettings}
    place = partial(place_in, layers)
    parts: dict[str, Settings] = {"live": Parameters.parse(live, place=place)}
    for part, table in tables.items():
        values = {name: fixed.pop(name) for name in table.model_fields if name in fixed}
        parts[part] = table.parse(values, place=place)
    return Config.parse(fixed | parts, place=place)


def with_model(config: Config, model: str) -> Config:
    """Return `config` for another model, which sets the defaults of all that was not given."""
    parts = (config, config.broadcast, config.video, config.live)
    given = {n: getattr(part, n) for part in parts for n in part.model_fields_set if n not in PARTS}
    return build_config([given, {"model": model}])


def _merge(layers: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of all `layers` that are fixed at start and those that are live."""
    fixed: dict[str, Any] = {}
    live: dict[str, Any] = {}
    for layer in layers:
        settings, changes = split_layer(layer)
        if "faders" in settings:
            settings["faders"] = _faders(fixed.get("faders", {}), settings["faders"], layer)
        fixed |= settings
        live |= changes
        # The schedule of a model that knows only these timesteps.
        if settings.get("timesteps") is not None and "num_inference_steps" not in changes:
            live["num_inference_steps"] = _count(settings["timesteps"]) or 1
        # Two forms of one thing, of which the later one counts.
        if changes.get("t_index_list") is not None:
            live.pop("strength", None)
            if "steps" not in settings:
                fixed["steps"] = _count(changes["t_index_list"])
        elif changes.get("strength") is not None:
            live.pop("t_index_list", None)
    return fixed, live


def split_layer(layer: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of `layer` that are fixed at start and those that are live, by field."""
    fixed: dict[str, Any] = {}
    live: dict[str, Any] = {}
    for name, value in layer.items():
        if name in LIVE_NAMES:
            live[LIVE_NAMES[name]] = value
        elif name in FIXED_NAMES:
            fixed[FIXED_NAMES[name]] = value
        else:
            where = f" ({given})" if (given := place_of(name, layer)) else ""
            hint = suggest(name, [*FIXED_NAMES, *LIVE_NAMES])
            raise ConfigError(f'unknown setting "{name:.40}": {hint}{where}')
    return fixed, live


def place_in(layers: Sequence[Mapping[str, Any]], name: str) -> str:
    """Return where the last of `layers` that has the setting `name`, or an alias, was given it."""
    for layer in reversed(layers):
        for given in layer:
            if FIXED_NAMES.get(given, LIVE_NAMES.get(given)) == name:
                return place_of(given, layer)
    return ""


def _faders(before: Any, after: Any, layer: Mapping[str, Any]) -> dict[str, Span]:
    """Return the spans of earlier layers with those of `layer`, each fader by itself."""
    try:
        return merged_faders(before, after)
    except ValueError as error:
        where = f" ({given})" if (given := place_of("faders", layer)) else ""
        raise ConfigError(f"faders: {error}{where}") from None


def _count(indices: Any) -> int | None:
    """Return the number of `indices`; None if they are no list, which is refused later."""
    parsed = parse_index_list(indices)
    return len(parsed) if isinstance(parsed, (list, tuple)) and parsed else None
