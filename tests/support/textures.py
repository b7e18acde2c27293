"""Images with detail of every size, as photographs have, seeded."""

import cv2
import numpy as np

from streamcam.types import Image


def textured(width: int = 640, height: int = 360, seed: int = 0) -> Image:
    """Return an image ``(height, width, 3)`` of coloured areas with edges and fine texture."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64):
        coarse = rng.normal(0, 1, (max(2, height * cells // width), cells, 3)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    # Steps are the edges of things; what is left is texture.
    areas = np.floor(total) * 35 + total * 12 + 120
    texture = rng.normal(0, 6, total.shape).astype(np.float32)
    return np.clip(areas + texture, 0, 255).astype(np.uint8)
