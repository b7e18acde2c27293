"""Tell the format of a file by its first bytes, whatever its name says."""

from pathlib import Path

from streamcam.system.regular_file import open_regular

NPY = "NPY"
VIDEO = "VIDEO"
HEAD = 64
"""Bytes at the beginning of a file that tell its format."""

SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\x93NUMPY", NPY),
    (b"\x1a\x45\xdf\xa3", VIDEO),
)
BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1"), "HEIF"),
}
"""Of files in the ISO container; all other brands are videos."""
IMAGE_FORMATS = frozenset(("PNG", "JPEG", "GIF", "TIFF", "WEBP", "AVIF", "HEIF", "BMP"))
BMP_HEADER_BYTES = (12, 16, 40, 52, 56, 64, 108, 124)
JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")
NEXT_JPEG = b"\xff\xd9\xff\xd8\xff"
"""End of one JPEG, and start of another."""


def file_format(path: Path) -> str | None:
    """Return Pillow's name of the image format of `path`, `NPY`, or `VIDEO`; None if it is unknown.

    A file of many JPEGs one after another is a video, unless its name says that it is one image.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        name = _format_of(file.read(HEAD))
        if name == "JPEG" and path.suffix.lower() not in JPEG_SUFFIXES:
            file.seek(0)
            # The first image of such a file is smaller than that.
            if NEXT_JPEG in file.read(16_000_000):
                return VIDEO
        return name


def _format_of(head: bytes) -> str | None:
    for signature, name in SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF":
        return {b"WEBP": "WEBP", b"AVI ": VIDEO}.get(head[8:12])
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        compatible = {head[at : at + 4] for at in range(16, min(size, HEAD), 4)}
        # The general brand leaves it to the compatible ones to tell the codec.
        if head[8:12] == b"mif1" and b"avif" in compatible:
            return "AVIF"
        return BRANDS.get(head[8:12], VIDEO)
    # Two letters are few: the size of the second header must be one that exists.
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADER_BYTES:
        return "BMP"
    return None
