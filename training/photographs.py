"""Load real photographs for sheets and figures; no training ever sees one.

They come with scikit-image, which is needed for nothing else: ``pip install scikit-image``.
"""

from collections.abc import Mapping

import cv2
import numpy as np

from streamcam.types import Image

WIDTH, HEIGHT = 448, 256
"""The shape of a webcam, 7 to 4, in steps of 64."""


def photographs() -> Mapping[str, Image]:
    """Return photographs ``(256, 448, 3)`` by name; "face" is at the distance of a webcam."""
    from skimage import data

    astronaut = data.astronaut()
    return {
        "face": np.ascontiguousarray(astronaut[:HEIGHT, 10 : 10 + WIDTH]),
        "astronaut": framed(astronaut),
        "cat": framed(data.chelsea()),
        "coffee": framed(data.coffee()),
        "rocket": framed(data.rocket()),
        "motorcycle": framed(data.stereo_motorcycle()[0]),
    }


def framed(image: Image, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """Return the middle of `image`, slightly above its centre, at the size of a frame."""
    rows, columns = image.shape[:2]
    scale = max(width / columns, height / rows)
    size = (round(columns * scale), round(rows * scale))
    scaled = cv2.resize(image[..., :3], size, interpolation=cv2.INTER_AREA)
    top, left = (scaled.shape[0] - height) // 3, (scaled.shape[1] - width) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width], np.uint8)


FACE = (slice(28, 198), slice(150, 290))
"""Rows and columns of the head in the photograph "face"."""


def pan(frames: int = 8, step: int = 2) -> list[Image]:
    """Return what a camera sees that pans over "astronaut" by `step` pixels a frame."""
    from skimage import data

    whole = data.astronaut()[:HEIGHT]
    last = whole.shape[1] - WIDTH
    starts = [min(i * step, last) for i in range(frames)]
    return [np.ascontiguousarray(whole[:, x : x + WIDTH]) for x in starts]
