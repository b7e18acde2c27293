"""What goes on air when there is no picture: a card with a few words."""

from functools import lru_cache

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from streamcam.types import Image

GROUND, INK, FAINT = (18, 20, 26), (235, 237, 242), (130, 136, 150)


@lru_cache(maxsize=32)
def slate(title: str, detail: str, size: tuple[int, int]) -> Image:
    """Return a card of `size` (width, height) with a title and a smaller line below it."""
    width, height = size
    # The thread that keeps the broadcast's clock draws this. Pillow copies what it hands over,
    # so it gets just the rows that have words in them: a whole card takes over twice as long.
    top, bottom = int(height * 0.35), int(height * 0.7) + 1
    words = Pillow.new("RGB", (width, bottom - top), GROUND)
    draw = ImageDraw.Draw(words)
    x, y = width / 2, height / 2 - top
    draw.text((x, y - height * 0.03), title, fill=INK, font_size=height * 0.07, anchor="mm")
    shown = detail if len(detail) <= 80 else f"{detail[:77]}..."
    draw.text((x, y + height * 0.06), shown, fill=FAINT, font_size=height * 0.03, anchor="mm")
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = np.tile(np.array(GROUND, np.uint8), (width, 1))
    picture[top:bottom] = np.asarray(words)
    picture.setflags(write=False)
    return picture
