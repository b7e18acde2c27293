"""Values that the shell completes: presets, sources, sinks, models, looks, devices, settings.

Each function is called at a press of Tab, so it imports little and opens nothing; click takes what
they return as completions.
"""

from collections.abc import Callable, Iterable
from functools import partial

import click
from click.shell_completion import CompletionItem
from pydantic.fields import FieldInfo

from streamcam.embedded_model import LOOKS, NANO
from streamcam.plugins import plugin_names
from streamcam.settings import aliases
from streamcam.settings.base import literal_values, traits
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import PARTS, Config
from streamcam.settings.model_settings import AUTO
from streamcam.settings.parameters import Parameters
from streamcam.settings.presets import find_presets
from streamcam.settings.video_settings import VideoSettings
from streamcam.sinks.sink_table import PLUGINS as SINK_PLUGINS
from streamcam.sinks.sink_table import SINKS
from streamcam.sources.source_table import PLUGINS as SOURCE_PLUGINS
from streamcam.sources.source_table import SOURCES
from streamcam.sources.url_schemes import SCHEMES
from streamcam.system.paths import presets_folder

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem[str]]]

DEVICES = (AUTO, "cpu", "cuda", "cuda:0", "cuda:1", "mps", "xpu")
CAMERA, VIRTUAL_CAMERA = "camera", "virtual-camera"


def preset_names(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Return the presets that begin with `incomplete`."""
    return _beginning(incomplete, sorted(find_presets()))


def own_presets(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Return the user's own presets that begin with `incomplete`."""
    return _beginning(incomplete, sorted(file.stem for file in presets_folder().glob("*.toml")))


def preset_files(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Return the presets that begin with `incomplete`, and let the shell list files."""
    return [*preset_names(ctx, param, incomplete), *_files(incomplete)]


def looks(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Return the looks of nano that begin with `incomplete`, each of which is a prompt."""
    return _beginning(incomplete, LOOKS)


def model_names(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Return nano, the short names and the models in the cache, and let the shell list files."""
    from streamcam.models.hub_cache import cached_names

    names = [AUTO, NANO, *aliases.MODELS, *cached_names()]
    return [*_beginning(incomplete, dict.fromkeys(names)), *_files(incomplete)]


def addresses(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Return the OSC addresses that begin with `incomplete`, with the prefix if that has one."""
    from streamcam.control.addresses import Addresses

    prefix = BroadcastSettings().osc_prefix if incomplete.startswith("/") else ""
    start = 0 if prefix else 1
    rows = Addresses(prefix).rows()
    return [
        CompletionItem(row.address[start:], help=row.description)
        for row in rows
        if row.address[start:].startswith(incomplete)
    ]


def assignments(
    ctx: click.Context,
    param: click.Parameter,
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Return settings that begin with `incomplete`, or values of the one that it names."""
    name, equals, value = incomplete.partition("=")
    fields = _fields()
    if not equals:
        return [
            CompletionItem(f"{field}=", help=info.description)
            for field, info in fields.items()
            if field.startswith(name)
        ]
    field = name.replace("-", "_")
    if field not in fields:
        return []
    values = field_values(field, fields[field])(ctx, param, value)
    return [
        CompletionItem(f"{name}={item.value}", item.type, item.help)
        for item in values
        if item.type == "plain"
    ]


def field_values(name: str, field: FieldInfo) -> Completer:
    """Return what completes the values of the setting `name`."""
    words = literal_values(field) or (("true", "false") if field.annotation is bool else ())
    if name in _OF_FIELDS:
        return _OF_FIELDS[name]
    return partial(_words, words, traits(field).aliases)


def _words(
    words: Iterable[str],
    short_names: Iterable[str],
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem[str]]:
    return _beginning(incomplete, words) or _beginning(incomplete, short_names)


def _sources(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem[str]]:
    from streamcam.sources.camera_list import cameras

    kinds = [AUTO, *(kind for kind in SOURCES if kind not in SCHEMES and kind != "file")]
    kinds += [*plugin_names(SOURCE_PLUGINS), *(f"{scheme}://" for scheme in SCHEMES)]
    items = _beginning(incomplete, kinds)
    for camera in cameras():
        spec = f"{CAMERA}:{camera.address}"
        if not camera.virtual and spec.startswith(incomplete):
            items.append(CompletionItem(spec, help=camera.name))
    return [*(items or _beginning(incomplete, aliases.SOURCES)), *_files(incomplete)]


def _sinks(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem[str]]:
    from streamcam.sources.camera_list import cameras

    kinds = (f"{kind}:" if kind == "recorder" else kind for kind in SINKS)
    items = _beginning(incomplete, [AUTO, *kinds, *plugin_names(SINK_PLUGINS)])
    labels = (f"{VIRTUAL_CAMERA}:{camera.name}" for camera in cameras() if camera.virtual)
    items += _beginning(incomplete, labels)
    return items or _beginning(incomplete, aliases.SINKS)


def _autoencoders(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem[str]]:
    return [*_beginning(incomplete, ["full"]), *_files(incomplete)]


def _paths(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    incomplete: str,
) -> list[CompletionItem[str]]:
    return _files(incomplete)


_OF_FIELDS: dict[str, Completer] = {
    "prompt": looks,
    "negative_prompt": looks,
    "model": model_names,
    "vae": _autoencoders,
    "lora": _paths,
    "embedding": _paths,
    "ip_adapter": _paths,
    "image_prompt": _paths,
    "controlnet": _paths,
    "device": partial(_words, DEVICES, ()),
    "source": _sources,
    "sink": _sinks,
}


def _fields() -> dict[str, FieldInfo]:
    tables = (Config, BroadcastSettings, VideoSettings, Parameters)
    fields = {name: info for table in tables for name, info in table.model_fields.items()}
    return {name: info for name, info in fields.items() if name not in PARTS}


def _beginning(incomplete: str, words: Iterable[str]) -> list[CompletionItem[str]]:
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def _files(incomplete: str) -> list[CompletionItem[str]]:
    return [CompletionItem(incomplete, type="file")]
