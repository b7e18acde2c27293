"""The sinks of a broadcast, looked up by kind and imported when first used."""

from collections.abc import Callable
from pathlib import Path

from streamcam.errors import ConfigError, suggest
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sinks import VIDEOS, check_place
from streamcam.types import BroadcastView, Sink


def open_live(spec: str, broadcast: BroadcastSettings, view: BroadcastView) -> Sink:
    """Return the sink that `spec`, ``KIND`` or ``KIND:WHICH``, asks for; it is not entered yet.

    Args:
        spec: virtual-camera[:LABEL], preview, recorder:FILE or null.
        broadcast: its canvas, rate, pixel format and addresses.
        view: what the preview shows beside the pictures, and the recorder obeys.

    Raises:
        ConfigError: the kind is unknown, or what follows it is missing or too much.
        MediaError: a recording cannot be written there.
    """
    kind, _, which = spec.partition(":")
    kind = kind.strip().lower().replace("_", "-")
    if kind not in KINDS:
        raise ConfigError(f'unknown sink "{spec}": {suggest(kind, KINDS)}')
    return KINDS[kind](which.strip(), broadcast, view)


def _virtual_camera(which: str, broadcast: BroadcastSettings, view: BroadcastView) -> Sink:  # noqa: ARG001
    from streamcam.sinks.virtual_camera import VirtualCamera

    return VirtualCamera(which or None, broadcast.canvas, broadcast.fps, broadcast.pixel_format)


def _preview(which: str, broadcast: BroadcastSettings, view: BroadcastView) -> Sink:
    from streamcam.sinks.preview import Preview

    if which:
        raise ConfigError(
            f'the sink "preview" takes nothing after it, got "{which}"; its address is set with'
            " --preview-port and --set preview_bind"
        )
    return Preview(broadcast.preview_bind, broadcast.preview_port, view)


def _recorder(which: str, broadcast: BroadcastSettings, view: BroadcastView) -> Sink:
    from streamcam.sinks.recorder import Recorder

    if not which:
        raise ConfigError('the sink "recorder" needs a file, such as recorder:show.mkv')
    # The shell leaves a ~ behind a colon as it is.
    path = Path(which).expanduser()
    if path.suffix.lower() not in VIDEOS:
        raise ConfigError(f"cannot record {which}: name a {', '.join(VIDEOS)}")
    check_place(path, may_be_folder=False)
    return Recorder(path, broadcast.rate, view)


def _null(which: str, broadcast: BroadcastSettings, view: BroadcastView) -> Sink:  # noqa: ARG001
    from streamcam.sinks.null import NullSink

    if which:
        raise ConfigError(f'the sink "null" takes nothing after it, got "{which}"')
    return NullSink()


KINDS: dict[str, Callable[[str, BroadcastSettings, BroadcastView], Sink]] = {
    "virtual-camera": _virtual_camera,
    "preview": _preview,
    "recorder": _recorder,
    "null": _null,
}
