"""Draw crops of frames for training: of any size and place, mirrored, in other colours."""

import cv2
import numpy as np
from numpy.typing import NDArray

from training.frames import HEIGHT, WIDTH, Frames, FrameSet

SCALES = (1.0, 1.0, 1.0, 1.4, 2.0)
"""How much larger than the view its part of the frame is: scaled down, details are sharper."""


def draw_view(rng: np.random.Generator, frames: FrameSet, height: int, width: int) -> Frames:
    """Return a view ``(height, width, 4)`` of a random frame."""
    frame = frames[int(rng.integers(len(frames)))]
    largest = min(HEIGHT / height, WIDTH / width)
    scale = min(float(rng.choice(SCALES)), largest)
    tall, wide = round(height * scale), round(width * scale)
    top, left = corner(rng, frame[..., 3], tall, wide)
    view: NDArray[np.uint8] = np.asarray(frame[top : top + tall, left : left + wide])
    if scale > 1:
        view = np.asarray(cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if rng.random() < 0.5:
        view = view[:, ::-1]
    if rng.random() < 0.15:
        view = view[..., [*rng.permutation(3), 3]]
    return np.ascontiguousarray(view)


def corner(
    rng: np.random.Generator, focus: NDArray[np.uint8], height: int, width: int
) -> tuple[int, int]:
    """Return the top left corner of a view: half of them contain eyes or a mouth."""
    ends = (focus.shape[0] - height, focus.shape[1] - width)
    top, left = (int(rng.integers(end + 1)) for end in ends)
    if rng.random() < 0.5:
        small = focus[::8, ::8]
        places = np.argwhere(small > 128)
        if len(places):
            y, x = 8 * places[int(rng.integers(len(places)))]
            top = int(np.clip(y - rng.uniform(0.2, 0.8) * height, 0, ends[0]))
            left = int(np.clip(x - rng.uniform(0.2, 0.8) * width, 0, ends[1]))
    return top, left
