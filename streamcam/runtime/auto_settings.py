"""Settle every setting that is "auto" by what this machine has, and say why."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from streamcam.embedded_model import NANO
from streamcam.errors import DeviceError
from streamcam.pipelines import pipeline_of
from streamcam.redaction import redacted_url
from streamcam.runtime.device_presence import device_kind
from streamcam.runtime.engine_elsewhere import with_engine_elsewhere
from streamcam.runtime.model_size import with_shape_of_source
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import Config
from streamcam.settings.config_layers import with_model
from streamcam.settings.model_settings import AUTO
from streamcam.system.network import page_url

PASSTHROUGH = "passthrough"
"""The model that is none: the source is shown as it is."""
PREFERRED_MODEL = "stabilityai/sd-turbo"


class Choice(NamedTuple):
    """A value for a setting, and a line that names it and says why."""

    value: str
    line: str


def settle(config: Config) -> tuple[Config, list[str]]:
    """Return `config` with no "auto" left in it, and a line each on source, model and sinks."""
    if config.broadcast.engine:
        config = with_engine_elsewhere(config)
    config, model = settle_model(config)
    source = _source(config)
    # The virtual camera and the page may be named besides "auto"; each is opened once.
    sinks: dict[str, Choice] = {}
    for sink in _sinks(config.broadcast):
        sinks.setdefault(sink.value, sink)
    broadcast = config.broadcast.model_copy(update={"source": source.value, "sink": tuple(sinks)})
    settled = config.model_copy(update={"broadcast": broadcast})
    settled, size = with_shape_of_source(settled)
    lines = [f"source: {source.line}", f"model: {model}{size and f', {size}'}"]
    return settled, [*lines, f"sink: {', '.join(sink.line for sink in sinks.values())}"]


def settle_model(config: Config) -> tuple[Config, str]:
    """Return `config` with the model to run, and a line that says why it is this one."""
    if config.broadcast.engine:
        return config, f"{config.model}, on {config.broadcast.engine}"
    if config.model == PASSTHROUGH:
        return config, "none, the source is passed through"
    if config.model != AUTO:
        return config, config.model
    choice = _model(config)
    return with_model(config, choice.value), choice.line


def _model(config: Config) -> Choice:
    if published := pipeline_of(config).default_model:
        return Choice(published, f"{published}, as published")
    if config.mode == "txt2img":
        why = f"since {NANO} only repaints what it sees"
        return Choice(PREFERRED_MODEL, f"{PREFERRED_MODEL}, {why}")
    from streamcam.models.hub_cache import is_cached

    cached, has_gpu = is_cached(PREFERRED_MODEL), device_kind(config.device) != "cpu"
    if cached and has_gpu:
        return Choice(PREFERRED_MODEL, f"{PREFERRED_MODEL}, since it is in the cache")
    if cached:
        why = f"since {PREFERRED_MODEL} takes seconds a frame without a GPU"
        return Choice(NANO, f"{NANO}, which comes with streamcam, {why}")
    larger = f'; for a larger one: "streamcam models pull {PREFERRED_MODEL}"' if has_gpu else ""
    return Choice(NANO, f"{NANO}, which comes with streamcam{larger}")


def _source(config: Config) -> Choice:
    spec = config.broadcast.source
    if spec != AUTO:
        return Choice(spec, redacted_url(spec))
    from streamcam.sources.camera_list import first

    if camera := first():
        return Choice("camera", f"{camera}, the first camera found")
    return Choice("demo", "a drawn person, since no camera was found")


def _sinks(broadcast: BroadcastSettings) -> Iterator[Choice]:
    # A free port is logged once it is known.
    page = "preview page"
    if broadcast.preview_port:
        page = f"preview page {page_url(broadcast.web_bind, broadcast.preview_port)}"
    preview = Choice("preview", page)
    for spec in broadcast.sink:
        if spec == AUTO:
            yield from _auto_sinks(preview)
        else:
            yield preview if spec == preview.value else Choice(spec, redacted_url(spec))


def _auto_sinks(preview: Choice) -> Sequence[Choice]:
    """Return the virtual camera, if there is one, and the preview page."""
    from streamcam.sinks.virtual_camera import find

    try:
        name = find().name
    except DeviceError:
        why = 'since there is no virtual camera ("streamcam doctor" tells you how to get one)'
        return [preview._replace(line=f"{preview.line}, {why}")]
    return [Choice(f"virtual-camera:{name}", f'virtual camera "{name}"'), preview]
