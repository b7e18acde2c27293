"""Draw crops of frames for training: of any size and place, mirrored, in other colours."""

import cv2
import numpy as np
from numpy.typing import NDArray

from streamcam.types import Image
from training.frames import HEIGHT, WIDTH, Frames, FrameSet

EXPOSED = 0.6
"""Probability that a view is shown in other light."""
ROUGH = 0.4
"""Probability that its surfaces are made rough then."""
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
    # The frames are mapped from a file that cannot be written to.
    view = view.copy()
    if rng.random() < EXPOSED:
        view[..., :3] = exposed(rng, view[..., :3])
    return view


def exposed(rng: np.random.Generator, image: Image) -> Image:
    """Return `image` in other light: contrast, saturation, brightness, and a rough surface.

    Photographs have more of all of these than drawn scenes.
    """
    seen = image.astype(np.float32)
    if rng.random() < ROUGH:
        seen += roughness(rng, *image.shape[:2])[..., None]
    grey = seen.mean(2, keepdims=True)
    seen = grey + np.float32(rng.uniform(0.5, 1.8)) * (seen - grey)
    level = np.float32(seen.mean())
    seen = level + np.float32(rng.uniform(0.6, 1.7)) * (seen - level)
    seen += np.float32(rng.uniform(-30, 30))
    return np.clip(seen, 0, 255).astype(np.uint8)


def roughness(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """Return noise ``(height, width)`` at several scales, larger ones stronger, as of a surface."""
    total = np.zeros((height, width), np.float32)
    stretch = rng.choice((1, 1, 3, 6))
    for cell in (2, 4, 8, 16, 32):
        rows, columns = height // cell + 2, width // (cell * stretch) + 2
        grid = rng.standard_normal((rows, columns), np.float32)
        strength = np.float32(rng.uniform(0, 2.2) * cell**0.6)
        total += strength * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return total if rng.random() < 0.5 else np.ascontiguousarray(total[::-1])


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
