"""Generated sources of a given length: a moving test pattern and black frames."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from streamcam.sources.file_source import FileSource
from streamcam.types import Image

SECONDS_PER_TURN = 4


class Pattern(FileSource):
    """A disc circling before a grid and colour bars, with the frame's number."""

    def __init__(self, width: int, height: int, rate: Fraction, length: int | None) -> None:
        super().__init__(rate, length)
        self._backdrop = backdrop(width, height)

    def images(self) -> Iterator[Image]:
        index = 0
        while self.length is None or index < self.length:
            yield self.image_at(index)
            index += 1

    def image_at(self, index: int) -> Image:
        """Return frame `index`, ``(H, W, 3)`` uint8 RGB."""
        image = self._backdrop.copy()
        draw = ImageDraw.Draw(image)
        side = min(image.size)
        angle = 2 * np.pi * float(index / self.rate) / SECONDS_PER_TURN
        x = image.width / 2 + side * 0.3 * np.cos(angle)
        y = image.height / 2 + side * 0.3 * np.sin(angle)
        draw.circle((float(x), float(y)), side * 0.12, fill=(250, 240, 225), outline=(20, 20, 20))
        draw.text((side * 0.04, side * 0.04), f"{index:06d}", fill="white", font_size=side * 0.08)
        return np.asarray(image)


class Blank(FileSource):
    """Black frames that only set the pace: text to image ignores their content."""

    def __init__(self, width: int, height: int, rate: Fraction, length: int | None) -> None:
        super().__init__(rate, length)
        self._image = np.zeros((height, width, 3), np.uint8)

    def images(self) -> Iterator[Image]:
        index = 0
        while self.length is None or index < self.length:
            yield self._image
            index += 1


def backdrop(width: int, height: int) -> Pillow.Image:
    """Return the part of the test pattern that does not move."""
    y, x = np.mgrid[:height, :width]
    across, down = x / width, y / height
    sky = np.stack([60 + 120 * down, 90 + 60 * across, 160 - 90 * down], axis=-1)
    grid = (x * 16 // width != (x - 1) * 16 // width) | (y * 9 // height != (y - 1) * 9 // height)
    sky[grid] += 30
    bars = np.array([[235, 235, 235], [235, 235, 16], [16, 235, 235], [16, 235, 16]])
    bars = np.concatenate([bars, [[235, 16, 235], [235, 16, 16], [16, 16, 235]]])
    lower = down > 0.85
    sky[lower] = bars[(across * len(bars)).astype(int)][lower]
    return Pillow.fromarray(sky.clip(0, 255).astype(np.uint8))
