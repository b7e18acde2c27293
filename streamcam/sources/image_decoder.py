"""Decode one image of a file to upright 8-bit sRGB, in bounded memory."""

import pkgutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from streamcam.errors import MediaError, one_line
from streamcam.sources.file_format import file_format
from streamcam.sources.image_colours import TAGS_WITHIN, Tags, colour_conversion, colour_tags
from streamcam.system.regular_file import open_regular
from streamcam.types import Image

MAX_PIXELS = 1 << 26
"""8192x8192, more than telephones take as a rule; decoding needs up to 20 bytes a pixel."""
MAX_JPEG_PIXELS = 4 * MAX_PIXELS
"""Above `MAX_PIXELS` a JPEG is decoded at half its size."""
ROWS = 256
"""Rows that are converted at a time, so that there is never a second copy of all of them."""

DECODERS = {
    "PNG": "PIL.PngImagePlugin:PngImageFile",
    "JPEG": "PIL.JpegImagePlugin:jpeg_factory",
    "GIF": "PIL.GifImagePlugin:GifImageFile",
    "TIFF": "PIL.TiffImagePlugin:TiffImageFile",
    "WEBP": "PIL.WebPImagePlugin:WebPImageFile",
    "AVIF": "PIL.AvifImagePlugin:AvifImageFile",
    "HEIF": "pi_heif:HeifImageFile",
    "BMP": "PIL.BmpImagePlugin:BmpImageFile",
}
"""Decoders by their formats: these and no others, some of which run programs or have no limits."""

TURNS: dict[int, Callable[[Image], Image]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}
"""What turns an image upright, by its orientation in EXIF."""

DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    RuntimeError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Pillow.DecompressionBombError,
)
"""Errors of the decoders over files that are damaged."""


@contextmanager
def opened_image(path: Path) -> Iterator[tuple[ImageFile, Tags]]:
    """Open the image file at `path`, as its content says, and yield it with its colour tags.

    Nothing is decoded yet.

    Raises:
        MediaError: it is damaged, too large or no image, here or while the context decodes it.
    """
    try:
        format_name = file_format(path)
        if format_name not in DECODERS:
            raise SyntaxError
        with open_regular(path) as file:
            tags = colour_tags(file.read(TAGS_WITHIN))
            file.seek(0)
            with _open(format_name, file) as image:
                _limit_size(image)
                yield image, tags
    except SyntaxError:
        raise MediaError(f"cannot read the image {path}: it is damaged, or not an image") from None
    except DAMAGED as error:
        reason = (isinstance(error, OSError) and error.strerror) or one_line(error)
        raise MediaError(f"cannot read the image {path}: {reason}") from None


def _open(format_name: str, file: BinaryIO) -> ImageFile:
    # Not Pillow.open(): it warns of large images and refuses them before they can be drafted.
    decoder: Callable[[BinaryIO], ImageFile] = pkgutil.resolve_name(DECODERS[format_name])
    return decoder(file)


def decode(image: ImageFile, tags: Tags, *, flatten: bool = False) -> Image:
    """Return the image that `image` is at, ``(H, W, 3)`` uint8 sRGB, turned upright.

    Args:
        image: an open file; a JPEG of too many pixels comes at half its size.
        tags: of its colours.
        flatten: lay it over black where it is transparent, else transparency is left out.

    Raises:
        ValueError: it is too large, or has pixels of 32 bits.
    """
    _limit_size(image)  # Pages have sizes of their own, and frames may enlarge an animation.
    image.load()
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits; save it with 8 or 16 bits")
    convert = colour_conversion(image, tags)
    width, height = image.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, ROWS):
        rows = image.crop((0, top, width, min(top + ROWS, height)))
        pixels[top : top + ROWS] = np.asarray(convert(_eight_bit(rows, flatten=flatten)))
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return np.ascontiguousarray(turn(pixels)) if turn else pixels


def check_size(width: int, height: int, limit: int = MAX_PIXELS) -> None:
    """Raise ValueError, with the remedy, where an image has more pixels than are read."""
    if width * height > limit:
        raise ValueError(
            f"its {width}x{height} are {width * height / 1e6:.0f} megapixels, more than the"
            f" {limit // 10**6} that are read; make it smaller"
        )


def _limit_size(image: ImageFile) -> None:
    width, height = image.size
    # A progressive JPEG is held whole, whatever size it is drafted at.
    if image.format not in ("JPEG", "MPO") or "progressive" in image.info:
        check_size(width, height)
    check_size(width, height, MAX_JPEG_PIXELS)
    if width * height > MAX_PIXELS:
        image.draft(None, (width // 2, height // 2))


def _eight_bit(image: Pillow.Image, *, flatten: bool) -> Pillow.Image:
    """Return `image` with 8 bits a channel, and without transparency or a palette."""
    if image.mode.startswith("I;16"):
        # Pillow would cut it off at white.
        return Pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if flatten and image.has_transparency_data:
        black = Pillow.new("RGBA", image.size, (0, 0, 0, 255))
        return Pillow.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    image.info.pop("transparency", None)
    if image.mode in ("L", "1", "LA", "La"):
        return image.convert("L")
    return image if image.mode in ("CMYK", "LAB") else image.convert("RGB")
