"""Make HEIC and AVIF files of several tiles, as telephones write every photograph."""

import struct
from collections.abc import Sequence
from pathlib import Path

import av

from streamcam.types import Image

KINDS = {
    ".heic": ("libx265", b"hvc1", b"hvcC", b"heic"),
    ".avif": ("libsvtav1", b"av01", b"av1C", b"avif"),
}
"""By suffix: FFmpeg's encoder; what an item, its configuration and the file are called."""
OPTIONS = {"libx265": {"x265-params": "log-level=0:keyint=1"}, "libsvtav1": {"preset": "12"}}


def write_grid(
    path: Path, tiles: Sequence[Image], columns: int, *, transfer: int = 13, primaries: int = 1
) -> Path:
    """Write `tiles`, all of one size, row by row as one image, tagged as sRGB or as given."""
    codec, item_kind, configuration, brand = KINDS[path.suffix]
    encoded = [_encoded(path.with_suffix(".mp4"), tile, codec) for tile in tiles]
    height, width = tiles[0].shape[:2]
    rows = len(tiles) // columns
    size = (columns * width, rows * height)
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
    whole = len(tiles) + 1
    samples = [_sample(content) for content in encoded]
    properties = _box(
        b"ipco",
        _find(encoded[0], configuration),
        _full(b"ispe", struct.pack(">II", width, height)),
        _full(b"ispe", struct.pack(">II", *size)),
        _box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, 6, 0)),
    )
    used = [(number, [0x81, 2, 4]) for number in range(1, whole)] + [(whole, [3, 4])]
    associations = b"".join(struct.pack(">HB", i, len(u)) + bytes(u) for i, u in used)
    kinds = [(number, item_kind) for number in range(1, whole)] + [(whole, b"grid")]
    items = [_full(b"infe", struct.pack(">HH", i, 0), k, b"\0", version=2) for i, k in kinds]
    parts = struct.pack(f">HH{len(tiles)}H", whole, len(tiles), *range(1, whole))

    def meta(base: int) -> bytes:
        places, position = b"", base
        for number, sample in enumerate(samples, start=1):
            places += struct.pack(">HHHHII", number, 0, 0, 1, position, len(sample))
            position += len(sample)
        places += struct.pack(">HHHHII", whole, 1, 0, 1, 0, len(grid))
        return _full(
            b"meta",
            _full(b"hdlr", bytes(4), b"pict", bytes(13)),
            _full(b"pitm", struct.pack(">H", whole)),
            _full(b"iloc", struct.pack(">BBH", 0x44, 0, whole), places, version=1),
            _full(b"iinf", struct.pack(">H", whole), *items),
            _full(b"iref", _box(b"dimg", parts)),
            _box(b"iprp", properties, _full(b"ipma", struct.pack(">I", whole), associations)),
            _box(b"idat", grid),
        )

    kind = _box(b"ftyp", brand, bytes(4), b"mif1", brand, b"miaf")
    base = len(kind) + len(meta(0)) + 8
    path.write_bytes(kind + meta(base) + _box(b"mdat", *samples))
    return path


def _encoded(path: Path, tile: Image, codec: str) -> bytes:
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=30, options=OPTIONS[codec])
        track.pix_fmt = "yuv420p"
        track.height, track.width = tile.shape[:2]
        container.mux(track.encode(av.VideoFrame.from_ndarray(tile, format="rgb24")))
        container.mux(track.encode(None))
    content = path.read_bytes()
    path.unlink()
    return content


def _box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + name + content


def _full(name: bytes, *parts: bytes, version: int = 0) -> bytes:
    return _box(name, struct.pack(">I", version << 24), *parts)


def _find(content: bytes, name: bytes) -> bytes:
    at = content.index(name) - 4
    return content[at : at + struct.unpack_from(">I", content, at)[0]]


def _sample(content: bytes) -> bytes:
    """Return the one frame of a video."""
    sizes = _find(content, b"stsz")
    size = struct.unpack_from(">I", sizes, 12)[0] or struct.unpack_from(">I", sizes, 20)[0]
    offset = struct.unpack_from(">I", _find(content, b"stco"), 16)[0]
    return content[offset : offset + size]
