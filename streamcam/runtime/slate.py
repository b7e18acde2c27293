"""Slate: an image with a few words, on air while there is no output of the model."""

from functools import lru_cache

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from streamcam.types import Image

BACKGROUND, TITLE_COLOUR, DETAIL_COLOUR = (18, 20, 26), (235, 237, 242), (130, 136, 150)
MAX_DETAIL = 80
"""Characters of the smaller line; longer ones are cut."""


@lru_cache(maxsize=32)
def slate(title: str, detail: str, size: tuple[int, int]) -> Image:
    """Return a read-only slate of `size` (width, height): a title, a smaller line below it."""
    width, height = size
    # The thread that keeps the broadcast's clock draws this. Pillow copies what it hands over,
    # so it gets just the rows that have words in them: a whole slate takes over twice as long.
    top, bottom = int(height * 0.35), int(height * 0.7) + 1
    words = Pillow.new("RGB", (width, bottom - top), BACKGROUND)
    draw = ImageDraw.Draw(words)
    x, y = width / 2, height / 2 - top
    draw.text(
        (x, y - height * 0.03), title, fill=TITLE_COLOUR, font_size=height * 0.07, anchor="mm"
    )
    line = detail if len(detail) <= MAX_DETAIL else f"{detail[: MAX_DETAIL - 3]}..."
    draw.text(
        (x, y + height * 0.06), line, fill=DETAIL_COLOUR, font_size=height * 0.03, anchor="mm"
    )
    image = np.empty((height, width, 3), np.uint8)
    image[:] = np.tile(np.array(BACKGROUND, np.uint8), (width, 1))
    image[top:bottom] = np.asarray(words)
    image.setflags(write=False)
    return image
