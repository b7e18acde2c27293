"""Table of sinks: each kind with the function that opens it, imported when first used.

Another installed package adds a kind with an entry point in the group ``streamcam.sinks``: its
name is the kind, its object a `SinkOpener`.
"""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from streamcam.errors import ConfigError, MediaError, suggest
from streamcam.plugins import load_plugin, plugin_names
from streamcam.settings import aliases
from streamcam.settings.broadcast_settings import BroadcastSettings
from streamcam.sinks.atomic_file import AtomicOutput, explain_os_error, temporary_path
from streamcam.system.paths import expanded
from streamcam.types import BroadcastView, Sink

PLUGINS = "streamcam.sinks"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mkv", ".mp4", ".mov", ".m4v", ".webm")
PREVIEW_PORTS = 10
"""Ports that are tried for the preview page where none was asked for."""
FILE_SUFFIXES = (*VIDEO_SUFFIXES, ".npy", *IMAGE_SUFFIXES)

SinkOpener = Callable[[str, BroadcastSettings, BroadcastView | None], Sink]
"""Takes what follows ``KIND:`` in the spec, the settings, and the view of the broadcast."""


def open_sink(spec: str, settings: BroadcastSettings, view: BroadcastView | None) -> Sink:
    """Return the sink that `spec`, ``KIND`` or ``KIND:WHICH``, names; it is not entered yet.

    Args:
        spec: virtual-camera[:LABEL], preview, recorder:FILE, null, or the kind of a plugin.
        settings: canvas, rate, pixel format and addresses.
        view: state of the broadcast, which the preview and the recorder read; None outside one.

    Raises:
        ConfigError: the kind is unknown, its argument is missing or not taken, or it needs `view`.
        MediaError: a recording cannot be written there.
    """
    kind, which = _parse(spec)
    if not is_sink_kind(spec):
        if ":" not in spec and Path(spec).suffix.lower() in VIDEO_SUFFIXES:
            raise ConfigError(f'unknown sink "{spec}": to record a video, recorder:{spec}')
        known = suggest(
            kind, [*SINKS, *plugin_names(PLUGINS)], () if kind in aliases.SINKS else aliases.SINKS
        )
        raise ConfigError(f'unknown sink "{spec}": {known}')
    opener: SinkOpener = SINKS[kind] if kind in SINKS else load_plugin(PLUGINS, kind)
    return opener(which, settings, view)


def is_sink_kind(spec: str) -> bool:
    """Return whether `spec` names a live sink, built in or of a plugin; else it may be a path."""
    kind, _ = _parse(spec)
    return kind in SINKS or kind in plugin_names(PLUGINS)


def _parse(spec: str) -> tuple[str, str]:
    kind, _, which = spec.partition(":")
    return kind.strip().lower().replace("_", "-"), which.strip()


def _virtual_camera(which: str, settings: BroadcastSettings, view: BroadcastView | None) -> Sink:  # noqa: ARG001
    from streamcam.sinks.virtual_camera import VirtualCamera

    return VirtualCamera(which or None, settings.canvas, settings.fps, settings.pixel_format)


def _preview(which: str, settings: BroadcastSettings, view: BroadcastView | None) -> Sink:
    from streamcam.sinks.preview import Preview

    if which:
        raise ConfigError(
            f'the sink "preview" takes nothing after it, got "{which}"; its address is set with'
            " --preview-port and --web-bind"
        )
    # A port that was asked for may be known to other programs; a default may give way.
    tries = 1 if "preview_port" in settings.model_fields_set else PREVIEW_PORTS
    view = _required(view, "preview")
    return Preview(settings.web_bind, settings.preview_port, view, tries=tries)


def _recorder(which: str, settings: BroadcastSettings, view: BroadcastView | None) -> Sink:
    from streamcam.sinks.recorder import Recorder

    if not which:
        raise ConfigError('the sink "recorder" needs a file, such as recorder:show.mkv')
    path = expanded(which)
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise ConfigError(f"cannot record {which}: name a {', '.join(VIDEO_SUFFIXES)}")
    check_destination(path, may_be_folder=False)
    return Recorder(path, settings.rate, _required(view, "recorder"))


def _required(view: BroadcastView | None, kind: str) -> BroadcastView:
    if view is None:
        raise ConfigError(
            f'the sink "{kind}" shows the state of a broadcast and works only within one:'
            " use streamcam run or streamcam.Broadcast"
        )
    return view


def _null(which: str, settings: BroadcastSettings, view: BroadcastView | None) -> Sink:  # noqa: ARG001
    from streamcam.sinks.null import NullSink

    if which:
        raise ConfigError(f'the sink "null" takes nothing after it, got "{which}"')
    return NullSink()


SINKS: dict[str, SinkOpener] = {
    "virtual-camera": _virtual_camera,
    "preview": _preview,
    "recorder": _recorder,
    "null": _null,
}


def open_file_sink(
    path: Path, rate: Fraction, *, length: int | None = None, overwrite: bool = True
) -> AtomicOutput:
    """Return the sink that writes `path`; its suffix decides the format, none means a folder.

    An existing file at `path` stays untouched until the new one is complete.

    Args:
        path: destination; its folder must exist.
        rate: frames per second of a video.
        length: number of frames that will come, where it is known.
        overwrite: replace an existing file, else it is an error; a folder must be new or empty in
            any case.

    Raises:
        MediaError: the suffix is of no kind that can be written, nothing can be written there, or
            what is there must stay.
    """
    suffix = path.suffix.lower()
    check_destination(path, may_be_folder=suffix not in FILE_SUFFIXES)
    if suffix in FILE_SUFFIXES:
        _check_free(path, overwrite=overwrite)
    if suffix in VIDEO_SUFFIXES:
        from streamcam.sinks.video_writer import VideoWriter

        return VideoWriter(path, rate, overwrite=overwrite)
    if suffix == ".npy":
        from streamcam.sinks.npy_writer import NpyWriter

        return NpyWriter(path, overwrite=overwrite)
    if suffix in IMAGE_SUFFIXES:
        from streamcam.sinks.image_writer import ImageWriter

        return ImageWriter(path, length, overwrite=overwrite)
    if suffix and not path.is_dir():
        kinds = ", ".join(FILE_SUFFIXES)
        raise MediaError(
            f"cannot write {path}: known are {kinds}, and a name without suffix"
            " for a folder of PNGs"
        )
    from streamcam.sinks.image_writer import ImageFolderWriter

    return ImageFolderWriter(path)


def _check_free(path: Path, *, overwrite: bool) -> None:
    """Raise MediaError where writing `path` would take the place of something that must stay."""
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise MediaError(f"{path} exists; choose another name, or replace it with --overwrite")
    if path.exists() and not path.is_file():
        raise MediaError(f"{path} is a pipe or a device, not a file; choose another name")


def check_destination(path: Path, *, may_be_folder: bool) -> None:
    """Raise MediaError where writing to `path` would fail only after the model has loaded."""
    folder = path.parent
    try:
        folder = path.absolute().parent
        if not folder.is_dir():
            raise MediaError(f"no folder {folder}; make it first")
        if not path.name:
            raise MediaError(f'"{path}" is no name for a file; name one, such as out.mkv')
        for name in (path, temporary_path(path)):
            if name.is_dir() and not may_be_folder:
                raise MediaError(f"{name} is a folder; choose another name")
    except OSError as error:
        raise MediaError(f"cannot write {path}: {explain_os_error(error)}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise MediaError(f"cannot write into {folder}; choose a place you may write to")
