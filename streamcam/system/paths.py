"""Paths as users write them, and the folders that a user has for a purpose."""

import logging
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from platformdirs import user_cache_path, user_config_path, user_pictures_path

from streamcam.errors import MediaError, StreamcamError

log = logging.getLogger(__name__)


def expanded(path: str | Path) -> Path:
    """Return `path` with ``~`` and ``~user`` expanded, which a shell leaves behind a colon.

    Raises:
        MediaError: the home folder is not known, as for a user without a name.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise MediaError(
            f"cannot find {path}: no home folder is known; set HOME, or give the whole path"
        ) from None


def leave_deleted_folder() -> None:
    """Change to the folder for temporary files if the current one has been deleted.

    In no folder Python starts no process, and the library that torch computes with ends its own.
    """
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        os.chdir(tempfile.gettempdir())
        log.warning("the folder streamcam was started in is gone; it goes on in %s", Path.cwd())


def engines_folder() -> Path:
    """Return the folder for engines, in the user's cache; raise StreamcamError if none is known."""
    return _of_user(partial(user_cache_path, "streamcam"), "engines", "engine_dir") / "engines"


def compiler_cache() -> Path | None:
    """Return the folder for what torch has compiled, in the user's cache; None if none is known.

    Torch's own choice is the folder for temporary files, where another user could put code.
    """
    with suppress(RuntimeError):
        return user_cache_path("streamcam").expanduser() / "torchinductor"
    return None


def presets_folder() -> Path:
    """Return the folder for the user's presets, in their configuration; raise StreamcamError."""
    return _in_configuration("presets", "presets")


def cue_lists_folder() -> Path:
    """Return the folder for the user's cue lists, in their configuration; raise StreamcamError."""
    return _in_configuration("cues", "cue lists")


def midi_folder() -> Path:
    """Return the folder for the user's MIDI mappings, in their configuration, or raise."""
    return _in_configuration("midi", "MIDI mappings")


def _in_configuration(name: str, purpose: str) -> Path:
    try:
        return user_config_path("streamcam").expanduser() / name
    except RuntimeError:
        raise StreamcamError(
            f"no home folder is known for {purpose}; set HOME, or XDG_CONFIG_HOME"
        ) from None


def snapshots_folder() -> Path:
    """Return the folder for snapshots, among the user's pictures, or raise StreamcamError."""
    return _of_user(user_pictures_path, "snapshots", "snapshots") / "streamcam"


def _of_user(find: Callable[[], Path], purpose: str, setting: str) -> Path:
    try:
        return find().expanduser()
    except RuntimeError:
        raise StreamcamError(
            f"no home folder is known for {purpose}; set HOME, or name a folder with"
            f" --set {setting}=FOLDER"
        ) from None
