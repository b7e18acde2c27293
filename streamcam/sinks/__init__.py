"""Where pictures go. Kinds are looked up in one table and imported when first used."""

from fractions import Fraction
from pathlib import Path

from streamcam.errors import MediaError
from streamcam.types import Sink

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
VIDEOS = (".mkv", ".mp4", ".mov", ".m4v", ".webm")


def open_file(path: Path, rate: Fraction) -> Sink:
    """Return the sink that writes `path`, its kind told by the suffix; none means a folder.

    What stood at `path` stays untouched until the new file is whole.

    Raises:
        MediaError: the suffix is of no kind that can be written, or the place is not fit.
    """
    suffix = path.suffix.lower()
    if not path.absolute().parent.is_dir():
        raise MediaError(f"no folder {path.absolute().parent}; make it first")
    if suffix in VIDEOS:
        from streamcam.sinks.video import Video

        return Video(path, rate)
    if suffix == ".npy":
        from streamcam.sinks.array import Array

        return Array(path)
    if suffix in IMAGES:
        from streamcam.sinks.image import Still

        return Still(path)
    if suffix and not path.is_dir():
        kinds = ", ".join((*VIDEOS, ".npy", *IMAGES))
        raise MediaError(
            f"cannot write {path}: known are {kinds}, and a name without suffix"
            " for a folder of PNGs"
        )
    from streamcam.sinks.image import Folder

    return Folder(path)
