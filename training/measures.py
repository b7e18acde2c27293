"""Measures of the similarity of two images."""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from streamcam.types import Image


def psnr(output: Image, target: Image) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    error = np.square(output.astype(np.float32) - target).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-3)))


def edge_correlation(output: Image, target: Image) -> float:
    """Return the correlation of the edges of two images, from -1 to 1."""
    a, b = _edges(output), _edges(target)
    a, b = a - a.mean(), b - b.mean()
    norms = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / max(norms, 1e-6)


def _edges(image: Image) -> NDArray[np.float32]:
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    across, down = cv2.Sobel(luma, cv2.CV_32F, 1, 0), cv2.Sobel(luma, cv2.CV_32F, 0, 1)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def flicker(outputs: Sequence[Image], step: int, *, levels: int = 40, border: int = 16) -> float:
    """Return the share of pixels that differ by more than `levels` from the moved output before.

    `outputs` are those of a camera that pans by `step` pixels a frame to the right, so that all in
    its image moves to the left. A `border` where things come and go is left out.
    """
    shares = []
    for before, after in pairwise(outputs):
        moved = before[border:-border, border + step : -border].astype(np.int16)
        now = after[border:-border, border : -border - step].astype(np.int16)
        shares.append(float((np.abs(now - moved).max(-1) > levels).mean()))
    return float(np.mean(shares))
