"""Frames of a camera's shape, drawn once and kept on disk, with the places of eyes and mouths.

A file is ``(n, 256, 448, 4)`` uint8: red, green, blue and `focus`, where errors count most. Looks
are rendered during the training, so that every frame is seen in all of them, in any crop.
"""

import functools
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from training import scenes, scenes_camera
from training.dataset import lower_priority

WIDTH, HEIGHT = 448, 256
PER_FILE = 16
FRAMES = 12
"""Seed of the random stream, unlike those of the scenes."""
Frames = NDArray[np.uint8]


def draw_frame(seed: int, index: int) -> Frames:
    """Return a frame ``(256, 448, 4)`` that depends on the arguments alone, without noise."""
    rng = np.random.default_rng((seed, FRAMES, index))
    # Every third frame is drawn large and made small: as sharp as a good camera's.
    sharp = rng.random() < 0.35
    drawn = scenes.draw_scene(rng, WIDTH * (2 if sharp else 1))
    canvas = scenes.canvas_of(drawn)
    blur = drawn.camera.blur * (0.3 if sharp else 1.0)
    camera = replace(drawn.camera, noise=0.0, quality=0, blur=blur)
    pixels = scenes_camera.expose(camera, canvas.pixels, rng)
    frame = np.dstack([pixels, canvas.focus])
    if sharp and rng.random() < 0.6:
        frame = np.asarray(
            cv2.resize(frame, (WIDTH, WIDTH), interpolation=cv2.INTER_AREA), np.uint8
        )
    # People are in the middle and above it.
    top, left = int((frame.shape[0] - HEIGHT) * rng.beta(1.2, 3)), (frame.shape[1] - WIDTH) // 2
    return frame[top : top + HEIGHT, left : left + WIDTH]


def make_frames(folder: Path, seed: int, number: int) -> None:
    """Write one file of frames."""
    path = folder / f"{number:05}.npy"
    rows = [draw_frame(seed, number * PER_FILE + i) for i in range(PER_FILE)]
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, np.stack(rows))
    partial.replace(path)


def fill_frames(folder: Path, seed: int, count: int, workers: int) -> None:
    """Draw the missing files of `count` frames in `workers` processes, or here if that is 0."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(math.ceil(count / PER_FILE))
    missing = [n for n in numbers if not (folder / f"{n:05}.npy").exists()]
    make = functools.partial(make_frames, folder, seed)
    if not workers:
        for number in missing:
            make(number)
    elif missing:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=lower_priority) as pool:
            list(pool.map(make, missing))


class FrameSet:
    """Frames in a folder, read from disk when they are used."""

    def __init__(self, folder: Path) -> None:
        self._files = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]

    def __len__(self) -> int:
        return len(self._files) * PER_FILE

    def __getitem__(self, index: int) -> Frames:
        number, row = divmod(index, PER_FILE)
        frame: Frames = self._files[number][row]
        return frame
