"""Sources as they happen: ``camera[:NAME|PATH|INDEX]``, ``demo``, ``pattern``, a file or a URL."""

from fractions import Fraction
from functools import partial
from pathlib import Path

from streamcam import sources
from streamcam.errors import ConfigError
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.types import LiveSource

CAMERA, DEMO, PATTERN = "camera", "demo", "pattern"


def open_live(spec: str, broadcast: BroadcastSettings) -> LiveSource:
    """Return the source that `spec` names; a device or a connection is opened when it is entered.

    Raises:
        ConfigError: `spec` names no kind of source.
        MediaError: the file is missing, or of no kind that can be read.
    """
    kind, colon, rest = spec.partition(":")
    if kind == CAMERA:
        return _camera(rest, broadcast)
    if spec == DEMO:
        return _demo(broadcast)
    if spec == PATTERN:
        return _pattern(broadcast)
    if colon and rest.startswith("//"):
        return _url(spec)
    return _file(Path(spec).expanduser(), broadcast)


def _camera(name: str, broadcast: BroadcastSettings) -> LiveSource:
    from streamcam.sources.camera import Camera
    from streamcam.sources.camera_list import OWN_LABELS

    labels = [rest for kind, _, rest in (sink.partition(":") for sink in broadcast.sink) if rest]
    return Camera(
        name or None,
        broadcast.camera_size,
        broadcast.camera_fps,
        own=frozenset((*OWN_LABELS, *labels)),
    )


def _demo(broadcast: BroadcastSettings) -> LiveSource:
    from streamcam.sources.demo import Demo

    return Demo(*broadcast.canvas, broadcast.rate)


def _pattern(broadcast: BroadcastSettings) -> LiveSource:
    from streamcam.sources.pattern import MovingPattern

    return MovingPattern(*broadcast.canvas, broadcast.rate)


def _url(spec: str) -> LiveSource:
    from streamcam.sources.network_stream import SCHEMES, NetworkStream

    scheme = spec.partition(":")[0].lower()
    if scheme not in SCHEMES:
        raise ConfigError(
            f'no source is read over "{scheme}://"; known: {", ".join(SCHEMES)};'
            " a file is given by its path"
        )
    return NetworkStream(spec)


def _file(path: Path, broadcast: BroadcastSettings) -> LiveSource:
    from streamcam.sources.playback import LivePlayback, RepeatedImage

    if not path.exists() and path.parent == Path() and not path.suffix:
        raise ConfigError(
            f'no source "{path}"; it should be camera, demo, pattern, a URL or a file that exists'
        )
    opened = partial(sources.open_file, path, Fraction(broadcast.rate))
    if path.suffix.lower() in sources.IMAGES:
        return LivePlayback(partial(RepeatedImage, opened), loop=True)
    return LivePlayback(opened, loop=broadcast.loop)
