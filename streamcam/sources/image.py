"""Still pictures: one file, or a folder of them in the order of their names."""

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps

from streamcam.errors import MediaError
from streamcam.sources import IMAGES
from streamcam.sources.base import FileSource
from streamcam.types import Image


class Still(FileSource):
    """One image file: one frame."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        super().__init__(rate, length=1)
        self._image = read(path)

    def images(self) -> Iterator[Image]:
        yield self._image


class Folder(FileSource):
    """Every image in a folder, ``2.png`` before ``10.png``."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        files = [p for p in path.iterdir() if p.suffix.lower() in IMAGES]
        if not files:
            raise MediaError(f"no images in {path}; it should hold {', '.join(IMAGES)} files")
        super().__init__(rate, length=len(files))
        self._files = sorted(files, key=lambda p: natural(p.name))

    def images(self) -> Iterator[Image]:
        return map(read, self._files)


def natural(name: str) -> list[tuple[int, str]]:
    """Return the sort key that counts digits as numbers."""
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def read(path: Path) -> Image:
    """Return the picture in `path` as the camera meant it to be held.

    Raises:
        MediaError: it is damaged, or no image at all.
    """
    try:
        with Pillow.open(path) as file:
            return np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
    except (OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise MediaError(f"cannot read the image {path}: {error}") from None
