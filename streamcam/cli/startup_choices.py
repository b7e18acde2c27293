"""What is taken where nothing was asked for, and why: said in three lines at the start."""

from typing import NamedTuple

from streamcam.embedded import NANO
from streamcam.errors import DeviceError
from streamcam.runtime.broadcast import PASSTHROUGH
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.settings.config import AUTO, Config, with_model

PREFERRED = "stabilityai/sd-turbo"
PREFERRED_VIDEO = "jerryfeng/StreamDiffusionV2/wan_causal_dmd_v2v"


class Choice(NamedTuple):
    """What was chosen, and a line that says why."""

    value: str
    line: str


def chosen(config: Config) -> tuple[Config, list[str]]:
    """Return `config` with every "auto" settled, and the lines that say how."""
    config, model = with_chosen_model(config)
    source = _source(config)
    sinks = [_sink(spec, config.broadcast) for spec in config.broadcast.sink]
    broadcast = config.broadcast.model_copy(
        update={"source": source.value, "sink": tuple(sink.value for sink in sinks)}
    )
    settled = config.model_copy(update={"broadcast": broadcast})
    lines = [f"source: {source.line}", f"model: {model}"]
    return settled, [*lines, f"sink: {', '.join(sink.line for sink in sinks)}"]


def with_chosen_model(config: Config) -> tuple[Config, str]:
    """Return `config` with its model settled, and a line that says why it is this one."""
    if config.model == PASSTHROUGH:
        return config, "none, the source is passed through"
    if config.model != AUTO:
        return config, config.model
    choice = _model(config)
    return with_model(config, choice.value), choice.line


def _model(config: Config) -> Choice:
    if config.pipeline == "video":
        return Choice(PREFERRED_VIDEO, f"{PREFERRED_VIDEO}, as published")
    from streamcam.models.hub import cached_models

    if any(repo.id == PREFERRED for repo in cached_models()):
        return Choice(PREFERRED, f"{PREFERRED}, since it is in the cache")
    if config.mode == "txt2img":
        return Choice(PREFERRED, f"{PREFERRED}, since {NANO} paints what it sees alone")
    why = f'{NANO}, which comes with streamcam; a larger one: "streamcam models pull {PREFERRED}"'
    return Choice(NANO, why)


def _source(config: Config) -> Choice:
    spec = config.broadcast.source
    if spec != "auto":
        return Choice(spec, spec)
    from streamcam.sources.camera_list import first

    if camera := first():
        return Choice("camera", f"{camera}, the first camera found")
    return Choice("demo", "a drawn person, since no camera was found")


def _sink(spec: str, broadcast: BroadcastSettings) -> Choice:
    page = f"preview page http://{broadcast.preview_bind}:{broadcast.preview_port}/"
    if spec == "preview":
        return Choice(spec, page)
    if spec != "auto":
        return Choice(spec, spec)
    from streamcam.sinks.virtual_camera import find

    try:
        name = find().name
    except DeviceError:
        why = 'since there is no virtual camera ("streamcam doctor" says how to get one)'
        return Choice("preview", f"{page}, {why}")
    return Choice(f"virtual-camera:{name}", f'virtual camera "{name}"')
