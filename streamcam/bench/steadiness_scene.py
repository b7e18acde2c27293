"""Scene and measures of steadiness: a moving noisy camera, the warp error, and the sharpness."""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from math import sin, tau

import cv2
import numpy as np
from numpy.typing import NDArray

from streamcam.sources.demo import Demo
from streamcam.types import Image

Field = NDArray[np.float32]
"""``(H, W, 2)``: how far each pixel moves to the right and down."""

SENSOR_NOISE = 5.0
"""Standard deviation of the camera's noise in grey levels, as indoors in the evening."""
MARGIN = 1.25
"""Size of the drawn room over that of the image that pans across it."""
RATE = 24
"""Frames a second."""
PAN_S = 6.0
"""Period of the pan in seconds."""
MAX_ROUND_TRIP = 0.5
"""Pixels that flow forth and back may miss their beginning by, where it is trusted."""
MAX_UNLIKE = 24.0
"""Grey levels by which a pixel may differ from where it came from; it was covered otherwise."""


def handheld_scene(
    width: int, height: int, frames: int, *, pans: bool = True, seed: int = 0
) -> list[Image]:
    """Return what a camera in a hand films of the drawn person, ``(H, W, 3)`` uint8.

    It pans and sways by parts of pixels, unless it stands still; the person moves, and every frame
    has its own noise.
    """
    room = Demo(round(width * MARGIN), round(height * MARGIN), Fraction(RATE))
    seen = (room.image_at(index, 0) for index in range(frames))
    return list(filmed(seen, width, height, pans=pans, seed=seed))


def filmed(
    views: Iterable[Image], width: int, height: int, *, pans: bool = True, seed: int = 0
) -> Iterator[Image]:
    """Yield what the camera films of `views`, which are larger than its frames by `MARGIN`."""
    draws = np.random.default_rng(seed)
    for index, view in enumerate(views):
        turn = tau * index / RATE / PAN_S if pans else 0.0
        across, down = 0.5 + 0.45 * sin(turn), 0.5 + 0.2 * sin(turn / 0.37)
        left, top = across * width * (MARGIN - 1), down * height * (MARGIN - 1)
        matrix = np.array([[1, 0, left], [0, 1, top]], np.float32)
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        clean = cv2.warpAffine(view, matrix, (width, height), flags=flags)
        noisy = clean + draws.normal(0, SENSOR_NOISE, clean.shape)
        yield noisy.clip(0, 255).astype(np.uint8)


def warp_error(inputs: Sequence[Image], outputs: Sequence[Image]) -> float:
    """Return the mean absolute difference of outputs from the ones before, moved with the scene.

    Optical flow (DIS) of the inputs says how the scene moved; pixels that it is unsure of, and
    those that were covered before, do not count. In grey levels.
    """
    total = count = 0.0
    for index in range(1, len(inputs)):
        flow, valid = backward_flow(inputs[index - 1], inputs[index])
        before = moved(outputs[index - 1].astype(np.float32), flow)
        difference = np.abs(outputs[index] - before).mean(-1)
        total += float(difference[valid].sum())
        count += int(valid.sum())
    return total / max(count, 1)


def sharpness(images: Sequence[Image]) -> float:
    """Return the gradient energy: the mean squared Sobel gradient of the grey images."""
    energies = []
    for image in images:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
        energies.append(float((across**2 + down**2).mean()) / 64)
    return float(np.mean(energies))


def backward_flow(before: Image, after: Image) -> tuple[Field, NDArray[np.bool_]]:
    """Return from where each pixel of `after` came, and where that can be trusted, ``(H, W)``."""
    old, new = (_smooth_grey(image) for image in (before, after))
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back, forth = (
        finder.calc(*pair, np.zeros((*old.shape, 2), np.float32)).astype(np.float32, copy=False)
        for pair in ((new, old), (old, new))
    )
    round_trip = back + moved(forth, back)
    unlike = np.abs(moved(old.astype(np.float32), back) - new)
    trusted = (np.hypot(round_trip[..., 0], round_trip[..., 1]) < MAX_ROUND_TRIP) & (
        unlike < MAX_UNLIKE
    )
    height, width = trusted.shape
    x, y = _positions(back)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return back, np.logical_and(trusted, inside)


def moved(image: NDArray[np.float32], flow: Field) -> NDArray[np.float32]:
    """Return `image` with every pixel read from where `flow` says that it came from."""
    x, y = _positions(flow)
    result = cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return result.astype(np.float32, copy=False)


def _positions(flow: Field) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x + flow[..., 0], y + flow[..., 1]


def _smooth_grey(image: Image) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.GaussianBlur(grey, (0, 0), 1.5).astype(np.uint8, copy=False)
