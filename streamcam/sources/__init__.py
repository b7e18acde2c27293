"""Where frames come from. Kinds are looked up in one table and imported when first used."""

from fractions import Fraction
from pathlib import Path

from streamcam.errors import MediaError
from streamcam.types import Source

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def open_file(path: Path, rate: Fraction) -> Source:
    """Return the source that reads `path`: a video, a folder of images, an image or a .npy.

    `rate` is the frames per second of what carries no rate of its own.

    Raises:
        MediaError: there is nothing at `path`, or it is of no kind that can be read.
    """
    try:
        path.stat()
    except FileNotFoundError:
        raise MediaError(f"no such input: {path}") from None
    except OSError as error:
        raise MediaError(f"cannot read {path}: {error.strerror}") from None
    if path.is_dir():
        from streamcam.sources.image_reader import ImageFolderReader

        return ImageFolderReader(path, rate)
    if path.suffix.lower() in IMAGES:
        from streamcam.sources.image_reader import ImageReader

        return ImageReader(path, rate)
    if path.suffix.lower() == ".npy":
        from streamcam.sources.npy_reader import NpyReader

        return NpyReader(path, rate)
    from streamcam.sources.video_reader import VideoReader

    return VideoReader(path)
