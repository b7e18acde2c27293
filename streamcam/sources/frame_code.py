"""A frame's index and time drawn into its pixels, readable from the output.

So the age of the frames that viewers see can be measured on the same machine from the pixels
alone. The code is grey blocks in the middle of the central square: it stays whole when an image
is cropped to a square, scaled down to 256x256 and up again, compressed, or stored as YUV 4:2:0.
"""

from binascii import crc_hqx
from collections.abc import Iterator

import cv2
import numpy as np

from streamcam.types import Image

COLUMNS, ROWS = 16, 6
INDEX_BYTES, TIME_BYTES = 4, 6
DARK, BRIGHT = 24, 228
CONTRAST = 60
"""Grey levels between dark and bright blocks below which there is no code."""

# Shares of the central square: low enough that the code is still whole when the square is enlarged
# to the width of a 16:9 image and cropped to its height.
WIDTH, HEIGHT = 0.75, 0.28
MIN_SIDE = 96
"""Pixels of the shorter side below which no code fits."""


def stamp(image: Image, index: int, time: float) -> None:
    """Write `index` and `time`, monotonic seconds, into `image` ``(H, W, 3)``, in place.

    Raises:
        ValueError: the shorter side is smaller than `MIN_SIDE`.
    """
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise ValueError(f"no room for a frame code in {width}x{height}")
    content = (index % 2**32).to_bytes(INDEX_BYTES) + round(time * 1000).to_bytes(TIME_BYTES)
    content += crc_hqx(content, 0xFFFF).to_bytes(2)
    bits = np.unpackbits(np.frombuffer(content, np.uint8)).reshape(ROWS, COLUMNS)
    left, top, right, bottom = _corners(width / 2, height / 2, min(width, height))
    blocks = np.where(bits, BRIGHT, DARK).astype(np.uint8)
    enlarged = cv2.resize(blocks, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    image[top:bottom, left:right] = enlarged[..., None]


def read(image: Image) -> tuple[int, float] | None:
    """Return the index, modulo 2**32, and the monotonic seconds, to the millisecond, in `image`.

    None where there is no complete code.
    """
    for blocks in _candidates(image):
        low, high = float(blocks.min()), float(blocks.max())
        if high - low < CONTRAST:
            continue
        content = np.packbits(blocks > (low + high) / 2).tobytes()
        if crc_hqx(content[:-2], 0xFFFF) == int.from_bytes(content[-2:]):
            index = int.from_bytes(content[:INDEX_BYTES])
            return index, int.from_bytes(content[INDEX_BYTES:-2]) / 1000
    return None


def _candidates(image: Image) -> Iterator[Image]:
    """Yield the blocks ``(ROWS, COLUMNS)`` if the square was kept, enlarged or stretched."""
    height, width = image.shape[:2]
    for across, down in ((min(width, height),) * 2, (max(width, height),) * 2, (width, height)):
        left, _, right, _ = _corners(width / 2, height / 2, across)
        _, top, _, bottom = _corners(width / 2, height / 2, down)
        if left >= 0 and top >= 0 and right - left >= COLUMNS and bottom - top >= ROWS:
            yield _block_brightness(image[top:bottom, left:right])


def _block_brightness(code: Image) -> Image:
    """Return the grey level ``(ROWS, COLUMNS)`` of the middle of every block."""
    # Nine samples per block, of which the middle one counts: edges blur into the next block.
    fine = cv2.resize(code, (3 * COLUMNS, 3 * ROWS), interpolation=cv2.INTER_AREA)
    grey: Image = fine.mean(axis=2).astype(np.uint8)
    return grey[1::3, 1::3]


def _corners(x: float, y: float, side: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the code in a square of `side` centred on (x, y)."""
    across, down = side * WIDTH / 2, side * HEIGHT / 2
    return round(x - across), round(y - down), round(x + across), round(y + down)
