"""streamcam: streaming diffusion between your camera and a virtual camera.

::

    import streamcam

    stream = streamcam.open_stream(model="nano", prompt="pencil sketch")
    with streamcam.open_source("camera") as camera, streamcam.open_sink("virtual-camera") as sink:
        for frame in camera:
            for output in stream(frame):
                sink.send(output)
"""

from importlib import import_module

from streamcam.system import telemetry
from streamcam.version import __version__

TYPE_CHECKING = False
"""As `typing.TYPE_CHECKING`: under ``python -m``, typing could come from the current folder."""

if TYPE_CHECKING:
    from typing import Any

    from streamcam.api import (
        Broadcast,
        ControlledStream,
        make_config,
        open_sink,
        open_source,
        open_stream,
    )
    from streamcam.errors import (
        ConfigError,
        DeviceError,
        EngineError,
        MediaError,
        ModelError,
        ParameterError,
        StreamcamError,
    )
    from streamcam.settings.config import Config
    from streamcam.settings.parameters import Parameters
    from streamcam.stats import Status
    from streamcam.types import BroadcastView, Frame, LiveSource, Sink, Source, Stream

__all__ = [
    "Broadcast",
    "BroadcastView",
    "Config",
    "ConfigError",
    "ControlledStream",
    "DeviceError",
    "EngineError",
    "Frame",
    "LiveSource",
    "MediaError",
    "ModelError",
    "ParameterError",
    "Parameters",
    "Sink",
    "Source",
    "Status",
    "Stream",
    "StreamcamError",
    "__version__",
    "make_config",
    "open_sink",
    "open_source",
    "open_stream",
]

_HOMES = {
    "streamcam.api": (
        *("Broadcast", "ControlledStream", "make_config"),
        *("open_sink", "open_source", "open_stream"),
    ),
    "streamcam.errors": (
        *("ConfigError", "DeviceError", "EngineError", "MediaError", "ModelError"),
        *("ParameterError", "StreamcamError"),
    ),
    "streamcam.settings.config": ("Config",),
    "streamcam.settings.parameters": ("Parameters",),
    "streamcam.stats": ("Status",),
    "streamcam.types": ("BroadcastView", "Frame", "LiveSource", "Sink", "Source", "Stream"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


telemetry.turn_off()


def __getattr__(name: str) -> "Any":
    # On first use: a command that needs a part of the package does not import the rest.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
