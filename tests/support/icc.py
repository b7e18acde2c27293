"""Make small colour profiles."""

import struct

D50 = (0.9642, 1.0, 0.8249)
DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""The colours of red, green and blue as XYZ under D50."""


def rgb_profile(primaries: tuple[tuple[float, float, float], ...]) -> bytes:
    """Return a profile of gamma 2.2."""
    colours = {f"{c}XYZ".encode(): _xyz(*p) for c, p in zip("rgb", primaries, strict=True)}
    curves = {f"{c}TRC".encode(): _curve(2.2) for c in "rgb"}
    return _profile(b"RGB ", b"XYZ ", colours | curves)


def grey_profile(gamma: float) -> bytes:
    return _profile(b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def cmyk_profile() -> bytes:
    """Return a profile in which every ink makes a neutral grey, and all four black."""
    straight = bytes(range(256))
    levels = bytes(
        value for inks in range(16) for value in (255 - 255 * inks.bit_count() // 4, 128, 128)
    )
    matrix = b"".join(_fixed(value) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + straight * 4 + levels + straight * 3
    return _profile(b"CMYK", b"Lab ", {b"A2B0": table}, kind=b"prtr")


def _profile(space: bytes, pcs: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": name, b"cprt": b"text" + bytes(4) + b"CC0\0", b"wtpt": _xyz(*D50)} | tags
    table, body = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = b"\0\0\0\0\x02\x10\0\0" + kind + space + pcs + bytes(12) + b"acsp" + bytes(28)
    head += b"".join(map(_fixed, D50)) + bytes(48)
    return struct.pack(">I", 4 + len(head) + len(table) + len(body)) + head + table + body


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(*values: float) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IHxx", 1, round(gamma * 256))
