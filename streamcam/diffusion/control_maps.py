"""Maps of an image that ControlNets are shown, made by OpenCV at frame rate.

All are white lines on black, as the published ControlNets were trained.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from streamcam.settings.parameters import Parameters
from streamcam.types import Image

Grey = NDArray[np.uint8]
"""An image ``(H, W)`` of one channel."""

SOFT_GAIN = 1.6
"""Of soft edges, so that the outline of a face is white."""
FINE_SIGMA, COARSE_SIGMA = 1.0, 1.6
"""Standard deviations, in pixels at a side of 512, of the blurs whose difference is a line."""
LINE_GAIN = 18.0
SCRIBBLE_THRESHOLD = 70
SCRIBBLE_WIDTH = 3
"""In pixels at a side of 512."""


def control_map(name: str, image: Image, parameters: Parameters) -> Image:
    """Return a map of `image`, of its size: white on black in three equal channels."""
    grey = _levels(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return _levels(cv2.cvtColor(MAPS[name](grey, parameters), cv2.COLOR_GRAY2RGB))


def edges(grey: Grey, parameters: Parameters) -> Grey:
    """Return edges, one pixel wide (Canny)."""
    lower, upper = sorted((parameters.edge_low, parameters.edge_high))
    return _levels(cv2.Canny(grey, lower, upper))


def softedge(grey: Grey, _parameters: Parameters) -> Grey:
    """Return edges as strong as they are: the gradient of the smoothed image."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.5 * _scale(grey))
    x, y = (cv2.Sobel(smooth, cv2.CV_32F, *axis, ksize=3) for axis in ((1, 0), (0, 1)))
    return _clipped(cv2.magnitude(x, y) * (SOFT_GAIN * _scale(grey)))


def lineart(grey: Grey, _parameters: Parameters) -> Grey:
    """Return dark lines of the image: the difference of two blurs."""
    scale, bright = _scale(grey), grey.astype(np.float32)
    fine, coarse = (
        cv2.GaussianBlur(bright, (0, 0), sigma * scale) for sigma in (FINE_SIGMA, COARSE_SIGMA)
    )
    return _clipped((coarse - fine) * LINE_GAIN)


def scribble(grey: Grey, parameters: Parameters) -> Grey:
    """Return thick lines as of a marker, black or white alone."""
    strong = (softedge(grey, parameters) > SCRIBBLE_THRESHOLD).astype(np.uint8) * 255
    side = max(1, round(SCRIBBLE_WIDTH * _scale(grey)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return _levels(cv2.dilate(strong, kernel))


def _scale(grey: Grey) -> float:
    return max(0.5, float(min(grey.shape)) / 512)


def _levels(values: NDArray[Any]) -> Grey:
    # OpenCV's types leave open what an array holds.
    return values.astype(np.uint8, copy=False)


def _clipped(values: NDArray[Any]) -> Grey:
    return _levels(values.clip(0, 255))


MAPS: dict[str, Callable[[Grey, Parameters], Grey]] = {
    "edges": edges,
    "softedge": softedge,
    "lineart": lineart,
    "scribble": scribble,
}
"""By the name of the preprocessor."""
