"""A camera that repeats one picture for ever: told from a scene that stands still."""

import numpy as np

from streamcam.types import Frame, Image

ALIVE_FRAMES = 300
FROZEN_S = 1.7


class FreezeDetector:
    """Notice that a camera whose frames always differed gives the same one for two seconds.

    A sensor has noise: no two frames are equal to the last bit. Screens that are grabbed and test
    pictures have none and may stand still by right. So only a camera is judged whose last
    `ALIVE_FRAMES` all differed; and if, opened anew, it goes on with the very same picture, the
    scene is still and the camera is never judged again. A wrong verdict thus costs one reopening,
    in front of a scene in which nothing moves.
    """

    def __init__(self) -> None:
        self._last: Frame | None = None
        self._lively = 0
        self._since: float | None = None
        self._accused: Image | None = None
        self._acquitted = False

    def reopened(self) -> None:
        """Start over; what was last said of the camera is remembered."""
        self._last, self._since, self._lively = None, None, 0

    def frozen(self, frame: Frame) -> bool:
        """Return whether the camera is frozen, given its next frame."""
        if self._acquitted:
            return False
        if self._accused is not None:
            self._acquitted = same(frame.image, self._accused)
            self._accused = None
        last, self._last = self._last, frame
        if last is None or not same(frame.image, last.image):
            self._lively = 0 if self._since is not None else self._lively + (last is not None)
            self._since = None
            return False
        self._since = last.captured_at if self._since is None else self._since
        if self._lively < ALIVE_FRAMES:
            self._lively = 0
            return False
        if frame.captured_at - self._since < FROZEN_S:
            return False
        self._accused = frame.image
        return True


def same(a: Image, b: Image) -> bool:
    """Return whether two pictures are equal to the last bit."""
    # Noise shows in a few pixels already, so the whole is compared only where it may well be equal.
    if a.shape != b.shape or not np.array_equal(a[::32, ::32], b[::32, ::32]):
        return False
    return np.array_equal(a, b)
