"""Image files as sources: one file, or a folder of them in the order of their names."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from streamcam.errors import MediaError
from streamcam.sources.file_source import FileSource
from streamcam.sources.image_suffixes import IMAGE_SUFFIXES
from streamcam.types import Image


class ImageReader(FileSource):
    """One image file as a single frame."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        super().__init__(rate, length=1)
        self._image = read(path)

    def images(self) -> Iterator[Image]:
        yield self._image


class ImageFolderReader(FileSource):
    """Every image in a folder, ``2.png`` before ``10.png``."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        try:
            files = [p for p in path.iterdir() if _is_image(p)]
        except OSError as error:
            raise MediaError(f"cannot read {path}: {error.strerror}") from None
        if not files:
            raise MediaError(
                f"no images in {path}; it should hold {', '.join(IMAGE_SUFFIXES)} files"
            )
        super().__init__(rate, length=len(files))
        self._files = sorted(files, key=lambda p: (natural(p.name), p.name))

    def images(self) -> Iterator[Image]:
        return map(read, self._files)


def _is_image(path: Path) -> bool:
    # Hidden files are passed over: on foreign disks macOS leaves a "._1.png" next to a "1.png".
    hidden = path.name.startswith(".")
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()


def natural(name: str) -> list[tuple[int, str]]:
    """Return the sort key of a name that counts digits as numbers."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def read(path: Path) -> Image:
    """Return the image in `path`, ``(H, W, 3)`` uint8 RGB, turned upright as its EXIF says.

    Raises:
        MediaError: it is damaged, or not an image.
    """
    try:
        with Pillow.open(path) as file:
            return np.asarray(_eight_bit(ImageOps.exif_transpose(file)).convert("RGB"))
    except UnidentifiedImageError:
        raise MediaError(f"cannot read the image {path}: it is damaged, or not an image") from None
    except (OSError, SyntaxError, ValueError, EOFError, Pillow.DecompressionBombError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise MediaError(f"cannot read the image {path}: {reason}") from None


def _eight_bit(image: Pillow.Image) -> Pillow.Image:
    """Scale 16-bit grey to 8 bits, which Pillow would cut off at white."""
    if image.mode.startswith("I;16"):
        return Pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits; save it with 8 or 16 bits")
    return image
