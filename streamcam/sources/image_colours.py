"""Colours of image files to sRGB: by their ICC profile, or their tags of primaries and transfer."""

import io
import logging
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from PIL import Image as Pillow
from PIL import ImageCms, ImageFilter
from PIL.ImageFile import ImageFile

from streamcam.sources.tone_mapping import EDGE, needs_mapping, sdr_table

log = logging.getLogger(__name__)

Tags = tuple[int, int]
"""Transfer and primaries, as ITU-T H.273 and FFmpeg number them."""
UNSPECIFIED: Tags = (2, 2)
TAGS_WITHIN = 65_536
"""Bytes at the beginning of a file that hold its tags, if there are any."""
Convert = Callable[[Pillow.Image], Pillow.Image]


def colour_tags(head: bytes) -> Tags:
    """Return the tags of a PNG, AVIF or HEIF, else `UNSPECIFIED`.

    Args:
        head: the first `TAGS_WITHIN` bytes of the file.
    """
    if head[4:8] == b"ftyp":
        at = head.find(b"colrnclx") + 8
        if at >= 8 and at + 4 <= len(head):
            primaries, transfer = struct.unpack_from(">HH", head, at)
            return transfer, primaries
    if head.startswith(b"\x89PNG"):
        at = 8
        while at + 12 <= len(head) and (name := head[at + 4 : at + 8]) != b"IDAT":
            if name == b"cICP":
                return head[at + 9], head[at + 8]
            at += 12 + int.from_bytes(head[at : at + 4], "big")
    return UNSPECIFIED


def colour_conversion(image: ImageFile, tags: Tags) -> Convert:
    """Return what converts 8-bit rows of `image` to sRGB.

    The tags of a PNG go before its profile, as its standard has it; elsewhere the profile does.
    """
    mapped = needs_mapping(*tags) and image.mode not in ("CMYK", "LAB")
    if mapped and (image.format == "PNG" or not image.info.get("icc_profile")):
        table = _table(*tags)
        return lambda rows: rows.convert("RGB").filter(table)
    return _by_profile(image)


@lru_cache(maxsize=4)
def _table(transfer: int, primaries: int) -> ImageFilter.Color3DLUT:
    return ImageFilter.Color3DLUT(EDGE, sdr_table(transfer, primaries).ravel())


def _by_profile(image: ImageFile) -> Convert:
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
