"""Table of sources: each kind with the function that opens it, imported when first used.

Another installed package adds a kind with an entry point in the group ``streamcam.sources``: its
name is the kind, its object a `SourceOpener`.
"""

import errno
import logging
from collections.abc import Callable
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

from streamcam.errors import ConfigError, MediaError, suggest
from streamcam.plugins import load_plugin, plugin_names
from streamcam.settings import aliases
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sources.file_format import IMAGE_FORMATS, NPY, file_format
from streamcam.sources.image_suffixes import IMAGE_SUFFIXES
from streamcam.sources.url_schemes import SCHEMES
from streamcam.system.paths import expanded
from streamcam.types import LiveSource, Source

log = logging.getLogger(__name__)

PLUGINS = "streamcam.sources"
FILE = "file"

SourceOpener = Callable[[str, BroadcastSettings], LiveSource]
"""Takes what follows ``KIND:`` in the spec, and the settings of the broadcast."""


def open_source(spec: str, settings: BroadcastSettings) -> LiveSource:
    """Return the live source that `spec` names; entering it opens the device or connection.

    Args:
        spec: camera[:NAME|PATH|INDEX], demo, pattern, a URL, the path of a file, or the kind of a
            plugin, with or without ``:WHICH``.
        settings: the camera's size and rate, the canvas, and whether files are looped.

    Raises:
        ConfigError: the kind or the URL's scheme is unknown.
        MediaError: the file is missing, or of no kind that can be read.
    """
    kind, which = _parse(spec)
    opener: SourceOpener = SOURCES[kind] if kind in SOURCES else load_plugin(PLUGINS, kind)
    return opener(which, settings)


def is_source_kind(spec: str) -> bool:
    """Return whether `spec` names a device, a pattern, a URL or a plugin's kind, and no file."""
    kind = spec.partition(":")[0].lower()
    return kind != FILE and (kind in SOURCES or kind in plugin_names(PLUGINS))


def _parse(spec: str) -> tuple[str, str]:
    """Split `spec` into a known kind and what follows its colon; all else is a file's path."""
    prefix, _, which = spec.partition(":")
    is_url = which.startswith("//")
    kind = prefix.lower() if is_url else prefix
    if is_url and kind == FILE:
        raise ConfigError('no source is read over "file://"; a file is given by its path')
    if kind in SOURCES or kind in plugin_names(PLUGINS):
        return kind, which
    if is_url:
        known = suggest(kind, [*SCHEMES, *plugin_names(PLUGINS)])
        raise ConfigError(f'no source is read over "{kind}://": {known}')
    path = expanded(spec)
    if not path.exists() and path.parent == Path() and not path.suffix:
        kinds = [kind for kind in SOURCES if kind not in SCHEMES]
        known = suggest(
            prefix,
            [*kinds, *plugin_names(PLUGINS)],
            () if prefix in aliases.SOURCES else aliases.SOURCES,
        )
        raise ConfigError(f'no source or file "{spec}": {known}')
    return FILE, spec


def _camera(which: str, settings: BroadcastSettings) -> LiveSource:
    from streamcam.sources.camera import Camera
    from streamcam.sources.camera_list import OWN_LABELS

    labels = [label for kind, _, label in (sink.partition(":") for sink in settings.sink) if label]
    own = frozenset((*OWN_LABELS, *labels))
    return Camera(which or None, settings.camera_size, settings.camera_fps, own=own)


def _demo(which: str, settings: BroadcastSettings) -> LiveSource:
    from streamcam.sources.demo import Demo

    _refuse_argument("demo", which)
    return Demo(*settings.canvas, settings.rate)


def _pattern(which: str, settings: BroadcastSettings) -> LiveSource:
    from streamcam.sources.pattern import MovingPattern

    _refuse_argument("pattern", which)
    return MovingPattern(*settings.canvas, settings.rate)


def _refuse_argument(kind: str, which: str) -> None:
    if which:
        raise ConfigError(f'the source "{kind}" takes nothing after it, got "{which}"')


def _url(scheme: str, which: str, settings: BroadcastSettings) -> LiveSource:  # noqa: ARG001
    from streamcam.sources.network_stream import NetworkStream

    if not which.startswith("//"):
        raise ConfigError(f'"{scheme}:{which}" is no URL; it should begin with {scheme}://')
    return NetworkStream(f"{scheme}:{which}")


def _file(which: str, settings: BroadcastSettings) -> LiveSource:
    from streamcam.sources.image_reader import ImageReader
    from streamcam.sources.playback import LivePlayback, RepeatedImage

    if not which:
        raise ConfigError('the source "file" needs a path, such as file:clip.mp4')
    path = expanded(which)
    # What is damaged is reported once, and not at every round.
    reopen = partial(open_file_source, path, settings.rate, report=cache(log.warning))
    with reopen() as source:
        if isinstance(source, ImageReader) and source.length == 1:
            return LivePlayback(partial(RepeatedImage, reopen), loop=True)
    return LivePlayback(reopen, loop=settings.loop)


SOURCES: dict[str, SourceOpener] = {
    "camera": _camera,
    "demo": _demo,
    "pattern": _pattern,
    FILE: _file,
    **{scheme: partial(_url, scheme) for scheme in SCHEMES},
}


def open_file_source(
    path: Path, rate: Fraction, *, report: Callable[[str], None] | None = None
) -> Source:
    """Return the source that reads every frame of `path`: a video, an image, a folder or a .npy.

    Args:
        path: a video, an image or animation, a folder of images or a .npy array; the content
            decides which of them it is.
        rate: frames per second of what carries no rate of its own.
        report: takes a line about images and frames that are damaged and skipped; without it a
            damaged image in a folder is an error.

    Raises:
        MediaError: there is nothing at `path`, or it is of no kind that can be read.
    """
    try:
        name = file_format(path)
    except FileNotFoundError:
        raise MediaError(f"no such input: {path}") from None
    except IsADirectoryError:
        from streamcam.sources.image_reader import ImageFolderReader

        return ImageFolderReader(path, rate, report)
    except OSError as error:
        is_device = error.errno == errno.EINVAL and path.is_char_device()
        remedy = f"; a camera is camera:{path}" if is_device else ""
        raise MediaError(f"cannot read {path}: {error.strerror}{remedy}") from None
    suffix = path.suffix.lower()
    # What has no known format and the name of an image or an array is a damaged one.
    if name in IMAGE_FORMATS or (name is None and suffix in IMAGE_SUFFIXES):
        from streamcam.sources.image_reader import ImageReader

        return ImageReader(path, rate, report or log.warning)
    if name == NPY or (name is None and suffix == ".npy"):
        from streamcam.sources.npy_reader import NpyReader

        return NpyReader(path, rate)
    from streamcam.sources.video_reader import VideoReader

    return VideoReader(path, report or log.warning)
