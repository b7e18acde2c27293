"""Detection of a camera that repeats one frame, as opposed to a scene that stands still."""

import numpy as np

from streamcam.types import Frame, Image

ALIVE_FRAMES = 300
FROZEN_S = 1.7


class FreezeDetector:
    """Notices that a camera whose frames always differed has given the same one for two seconds.

    A sensor has noise: no two frames are equal to the last bit. Screen grabbers and test
    patterns have none and may rightly stand still. So only a camera is judged whose last
    `ALIVE_FRAMES` all differed; and if, opened again, it goes on with the very same image, the
    scene is still and the camera is never judged again. A wrong verdict thus costs one reopening,
    in front of a scene in which nothing moves.
    """

    def __init__(self) -> None:
        self._last: Frame | None = None
        self._different_frames = 0
        self._still_since: float | None = None
        self._frozen_image: Image | None = None
        self._disabled = False

    def restart(self) -> None:
        """Count from zero after the camera was opened again; earlier verdicts stay known."""
        self._last, self._still_since, self._different_frames = None, None, 0

    def is_frozen(self, frame: Frame) -> bool:
        """Return whether the camera is frozen, given its next frame."""
        if self._disabled:
            return False
        if self._frozen_image is not None:
            self._disabled = same(frame.image, self._frozen_image)
            self._frozen_image = None
        last, self._last = self._last, frame
        if last is None or not same(frame.image, last.image):
            was_still = self._still_since is not None
            self._different_frames = 0 if was_still else self._different_frames + (last is not None)
            self._still_since = None
            return False
        if self._still_since is None:
            self._still_since = last.captured_at
        if self._different_frames < ALIVE_FRAMES:
            self._different_frames = 0
            return False
        if frame.captured_at - self._still_since < FROZEN_S:
            return False
        self._frozen_image = frame.image
        return True


def same(a: Image, b: Image) -> bool:
    """Return whether two images ``(H, W, 3)`` are equal to the last bit."""
    # Noise shows in a few pixels already, so the whole is compared only where it may well be equal.
    if a.shape != b.shape or not np.array_equal(a[::32, ::32], b[::32, ::32]):
        return False
    return np.array_equal(a, b)
