"""A ``.npy`` array of frames, read from disk as it goes."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from streamcam.errors import MediaError
from streamcam.sources.base import FileSource
from streamcam.types import Image


class Array(FileSource):
    """``(T, H, W, 3)`` uint8 RGB, memory-mapped."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        try:
            frames = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise MediaError(f"cannot read the array {path}: {error}") from None
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise MediaError(
                f"{path} holds {frames.shape} {frames.dtype}; frames must be (T, H, W, 3) uint8 RGB"
            )
        if not frames.size:
            raise MediaError(f"{path} holds no frames: {frames.shape}")
        super().__init__(rate, length=len(frames))
        self._frames = frames

    def images(self) -> Iterator[Image]:
        for frame in self._frames:
            yield np.array(frame)
