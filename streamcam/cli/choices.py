"""What is taken where nothing was asked for, and why: said in three lines at the start."""

from typing import NamedTuple

from streamcam.broadcast import Broadcast
from streamcam.config import Config
from streamcam.errors import DeviceError
from streamcam.runtime.broadcast import PASSTHROUGH

PREFERRED = "stabilityai/sd-turbo"


class Choice(NamedTuple):
    """What was chosen, and a line that says why."""

    value: str
    line: str


def chosen(config: Config) -> tuple[Config, list[str]]:
    """Return `config` with every "auto" settled, and the lines that say how."""
    model, source = _model(config), _source(config)
    sinks = [_sink(spec, config.broadcast) for spec in config.broadcast.sink]
    broadcast = config.broadcast.model_copy(
        update={"source": source.value, "sink": tuple(sink.value for sink in sinks)}
    )
    settled = config.model_copy(update={"model": model.value, "broadcast": broadcast})
    lines = [f"source: {source.line}", f"model: {model.line}"]
    return settled, [*lines, f"sink: {', '.join(sink.line for sink in sinks)}"]


def _model(config: Config) -> Choice:
    if "model" in config.model_fields_set:
        shown = (
            "none, the source is passed through" if config.model == PASSTHROUGH else config.model
        )
        return Choice(config.model, shown)
    from streamcam.diffusion.hub import cached

    if any(repo.id == PREFERRED for repo in cached()):
        return Choice(PREFERRED, f"{PREFERRED}, since it is in the cache")
    return Choice(
        PASSTHROUGH,
        "none in the cache, so the source is passed through; fetch one with"
        f' "streamcam models pull {PREFERRED}"',
    )


def _source(config: Config) -> Choice:
    spec = config.broadcast.source
    if spec != "auto":
        return Choice(spec, spec)
    from streamcam.sources.cameras import first

    if camera := first():
        return Choice("camera", f"{camera}, the first camera found")
    return Choice("pattern", "a moving test picture, since no camera was found")


def _sink(spec: str, broadcast: Broadcast) -> Choice:
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
