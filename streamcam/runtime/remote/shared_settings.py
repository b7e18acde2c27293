"""Settings that the engine's machine gives to the performer's: those that both must agree on.

No path is among them: models and LoRAs go by their short names.
"""

from pathlib import PurePath
from typing import Any

from streamcam.errors import ConfigError
from streamcam.runtime.model_size import with_shape_of_source
from streamcam.settings.base import traits
from streamcam.settings.config import Config
from streamcam.settings.faders import merged_faders
from streamcam.settings.named_numbers import short_names
from streamcam.settings.parameters import NAMED_FIELDS, Parameters
from streamcam.settings.video_settings import VideoSettings

SHARED = (
    *("pipeline", "mode", "width", "height", "steps", "frame_buffer_size", "cfg_type"),
    *("use_denoising_batch", "empty_prompt"),
)
NAMING = tuple({trait.named_by for trait in NAMED_FIELDS.values()})
SHARED_VIDEO = tuple(
    name for name, field in VideoSettings.model_fields.items() if field.annotation in (int, float)
)


def for_clients(config: Config) -> Config:
    """Return the `config` of engines for other machines, whose outputs are the model's images.

    They have no source whose shape could be asked for, so that of the canvas is taken.
    """
    config, _ = with_shape_of_source(config)
    canvas = {"canvas": (config.width, config.height), "pixel_format": "rgb"}
    return config.model_copy(update={"broadcast": config.broadcast.model_copy(update=canvas)})


def shared_settings(config: Config) -> dict[str, Any]:
    """Return those settings of the engine's `config`, as JSON has them."""
    own = {name: getattr(config, name) for name in SHARED}
    own["steps"] = config.num_steps
    for name in NAMING:
        given: dict[str, float] = getattr(config, name)
        short = short_names(given)
        own[name] = {short[item]: number for item, number in given.items()}
    return {
        "model": PurePath(config.model).name if "/" in config.model else config.model,
        **own,
        "video": {name: getattr(config.video, name) for name in SHARED_VIDEO},
        "live": config.live.model_dump(mode="json"),
        "faders": config.broadcast.faders,
    }


def with_shared_settings(config: Config, shared: Any, where: str) -> Config:
    """Return the performer's `config` with the settings of the engine's machine.

    Live values and spans of faders that were given here stay.

    Raises:
        ConfigError: a setting was given here that is another one there, or makes no sense.
    """
    try:
        given = {n: v for n, v in dict(shared).items() if n in (*SHARED, *NAMING, "model")}
        live = {n: v for n, v in dict(shared["live"]).items() if n in Parameters.model_fields}
        video = {n: v for n, v in dict(shared["video"]).items() if n in SHARED_VIDEO}
        faders = merged_faders(shared.get("faders", {}), config.broadcast.faders)
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{where} sends no settings that this version understands") from None
    for name in ("model", *SHARED):
        if name not in config.model_fields_set or name not in given:
            continue
        here, there = getattr(config, name), given[name]
        if here not in (there, "auto", None):
            raise ConfigError(
                f"the engine at {where} runs with {name} {there!s:.60}, not {here!s:.60}: leave it"
                " out here, or set it there"
            )
    own = {n: getattr(config.live, n) for n in config.live.model_fields_set}
    triggers = {n for n, field in Parameters.model_fields.items() if traits(field).trigger}
    merged = {n: v for n, v in live.items() if n not in triggers} | own
    if own.get("t_index_list") is not None:
        merged["strength"] = None
    elif own.get("strength") is not None:
        merged["t_index_list"] = None
    fields = {n: getattr(config, n) for n in config.model_fields_set}
    return Config.parse(
        fields
        | given
        | {
            "shape": "fixed",
            "device": "cpu",
            "live": Parameters.parse(merged),
            "video": config.video.model_copy(update=video),
            "broadcast": config.broadcast.model_copy(update={"faders": faders}),
        }
    )
