"""Where pictures go. Kinds are looked up in one table and imported when first used."""

import os
from fractions import Fraction
from pathlib import Path

from streamcam.errors import MediaError
from streamcam.sinks.atomic_file import AtomicOutput, explain_os_error, temporary_path

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEOS = (".mkv", ".mp4", ".mov", ".m4v", ".webm")


def open_file(path: Path, rate: Fraction, *, length: int | None = None) -> AtomicOutput:
    """Return the sink that writes `path`, its kind told by the suffix; none means a folder.

    What stood at `path` stays untouched until the new file is whole.

    Args:
        path: where to; its folder must exist.
        rate: frames per second of a video.
        length: number of frames that are to come, where it is known.

    Raises:
        MediaError: the suffix is of no kind that can be written, or the place is not fit.
    """
    suffix = path.suffix.lower()
    check_place(path, may_be_folder=suffix not in (*VIDEOS, ".npy", *IMAGES))
    if suffix in VIDEOS:
        from streamcam.sinks.video_writer import VideoWriter

        return VideoWriter(path, rate)
    if suffix == ".npy":
        from streamcam.sinks.npy_writer import NpyWriter

        return NpyWriter(path)
    if suffix in IMAGES:
        from streamcam.sinks.image_writer import ImageWriter

        return ImageWriter(path, length)
    if suffix and not path.is_dir():
        kinds = ", ".join((*VIDEOS, ".npy", *IMAGES))
        raise MediaError(
            f"cannot write {path}: known are {kinds}, and a name without suffix"
            " for a folder of PNGs"
        )
    from streamcam.sinks.image_writer import ImageFolderWriter

    return ImageFolderWriter(path)


def check_place(path: Path, *, may_be_folder: bool) -> None:
    """Refuse at once what would otherwise fail after the model has loaded, or at the end."""
    folder = path.absolute().parent
    try:
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
