"""Decode one image of a file to upright 8-bit sRGB, in bounded memory."""

import io
import logging
import pkgutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, ImageCms
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from streamcam.errors import MediaError, one_line
from streamcam.regular_file import open_regular
from streamcam.sources.file_format import file_format
from streamcam.types import Image

log = logging.getLogger(__name__)

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
def opened_image(path: Path) -> Iterator[ImageFile]:
    """Open the image file at `path`, as its content says; nothing is decoded yet.

    Raises:
        MediaError: it is damaged, too large or no image, here or while the context decodes it.
    """
    try:
        format_name = file_format(path)
        if format_name not in DECODERS:
            raise SyntaxError
        with open_regular(path) as file, _open(format_name, file) as image:
            _limit_size(image)
            yield image
    except SyntaxError:
        raise MediaError(f"cannot read the image {path}: it is damaged, or not an image") from None
    except DAMAGED as error:
        reason = (isinstance(error, OSError) and error.strerror) or one_line(error)
        raise MediaError(f"cannot read the image {path}: {reason}") from None


def _open(format_name: str, file: BinaryIO) -> ImageFile:
    # Not Pillow.open(): it warns of large images and refuses them before they can be drafted.
    decoder: Callable[[BinaryIO], ImageFile] = pkgutil.resolve_name(DECODERS[format_name])
    return decoder(file)


def decode(image: ImageFile, *, flatten: bool = False) -> Image:
    """Return the image that `image` is at, ``(H, W, 3)`` uint8 sRGB, turned upright.

    Args:
        image: an open file; a JPEG of too many pixels comes at a fraction of its size.
        flatten: lay it over black where it is transparent, else transparency is left out.

    Raises:
        ValueError: it is too large, or has pixels of 32 bits.
    """
    _limit_size(image)  # Pages have sizes of their own, and frames may enlarge an animation.
    image.load()
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits; save it with 8 or 16 bits")
    convert = _colour_conversion(image)
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


def _colour_conversion(image: Pillow.Image) -> Callable[[Pillow.Image], Pillow.Image]:
    """Return what converts 8-bit rows of `image` from the colours of its profile to sRGB."""
    content = image.info.get("icc_profile")
    grey = image.mode in ("L", "1", "LA", "La") or image.mode.startswith("I;16")
    mode = "L" if grey else image.mode if image.mode in ("CMYK", "LAB") else "RGB"
    try:
        profile: Any = ImageCms.createProfile("LAB") if mode == "LAB" else None
        if content and profile is None:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        if profile is None or not _fits(profile, mode):
            return _to_rgb
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        log.warning("a colour profile is left out, as it is damaged: %s", error)
        return _to_rgb
    return lambda rows: ImageCms.applyTransform(rows, transform) or rows


def _fits(profile: Any, mode: str) -> bool:
    """Return whether `profile` is for pixels of `mode`: files with a wrong one are not rare."""
    space = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}[mode]
    described = getattr(profile, "profile", profile)
    return bool(described.xcolor_space.strip() == space)


def _to_rgb(image: Pillow.Image) -> Pillow.Image:
    return image.convert("RGB")
