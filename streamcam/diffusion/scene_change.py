"""Watch the camera for cuts, and for how the scene moves, on small grey frames."""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from streamcam.pixels import fitted
from streamcam.types import Image

SHORTER_SIDE = 128
"""Pixels of the small frames: motion is found in a millisecond, and noise is averaged."""
CUT_SIMILARITY = 0.5
"""Correlation below which two frames that follow each other show different scenes."""
STEP = 4
"""Pixels of the small frames for which the motion is one vector, and cuts are one mean."""


class SceneChange(NamedTuple):
    """The step from one processed frame to the next."""

    is_cut: bool
    motion: NDArray[np.float32]
    """``(h, w, 2)``: how far each part of the scene moved, in shares of the width and height."""

    @property
    def shift(self) -> tuple[float, float]:
        """Distance that most of the scene moved to the right and down, in the same shares."""
        right, down = np.median(self.motion.reshape(-1, 2), axis=0)
        return float(right), float(down)


class SceneWatch:
    """Compares each frame with the one before it.

    Args:
        width: of the model's image.
        height: of the same.
        fit: how frames of another shape are fitted to it.
    """

    def __init__(self, width: int, height: int, fit: str) -> None:
        scale = SHORTER_SIDE / STEP / min(width, height)
        self._columns, self._rows = (round(side * scale) for side in (width, height))
        self._fit = fit
        self.still = np.zeros((self._rows, self._columns, 2), np.float32)
        """The motion of a scene that does not move."""
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self.reset()

    def reset(self) -> None:
        """Forget the last frame."""
        self._last: NDArray[np.uint8] | None = None

    def __call__(self, image: Image, *, moves: bool) -> SceneChange:
        """Return what has changed since the last frame ``(H, W, 3)``, which may be of any size.

        The motion is only looked for where it is wanted: with `moves`.
        """
        before, now = self._last, self._small_grey(image)
        self._last = now
        if before is None:
            return SceneChange(is_cut=False, motion=self.still)
        if self._similarity(before, now) < CUT_SIMILARITY:
            return SceneChange(is_cut=True, motion=self.still)
        if not moves or np.array_equal(before, now):
            return SceneChange(is_cut=False, motion=self.still)
        # From the new frame back to the old one, so that each new pixel knows its origin.
        back = self._reduced(self._flow.calc(now, before, np.zeros((*now.shape, 2), np.float32)))
        back /= np.array(now.shape[::-1])
        return SceneChange(is_cut=False, motion=-back)

    def _small_grey(self, image: Image) -> NDArray[np.uint8]:
        small = fitted(image, STEP * self._columns, STEP * self._rows, self._fit)
        return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)

    def _similarity(self, a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
        """Return the correlation of two frames, whatever brightness and contrast, -1 to 1."""
        x, y = (self._reduced(image).ravel().astype(np.float32) for image in (a, b))
        x, y = x - x.mean(), y - y.mean()
        # Padded by one grey level, so that two empty frames are alike.
        pad = len(x)
        return (float(x @ y) + pad) / (float(np.sqrt(float(x @ x) * float(y @ y))) + pad)

    def _reduced(self, values: NDArray[Any]) -> NDArray[Any]:
        return cv2.resize(values, (self._columns, self._rows), interpolation=cv2.INTER_AREA)


class ChangesInFlight:
    """Changes that wait for the outputs of their frames, which come `delay` calls later."""

    def __init__(self, delay: int) -> None:
        self._delay = delay
        self.reset()

    def reset(self) -> None:
        """Forget all."""
        self._calls: deque[Sequence[SceneChange]] = deque(maxlen=self._delay + 1)

    def __call__(self, changes: Sequence[SceneChange]) -> Sequence[SceneChange]:
        """Take those of the new frames of a call; return those of the frames it puts out."""
        self._calls.append(changes)
        return self._calls[0] if len(self._calls) > self._delay else []
