"""Frames of a ``.npy`` array, read from disk one at a time."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from streamcam.errors import MediaError
from streamcam.sources.file_source import FileSource
from streamcam.types import Image


class NpyReader(FileSource):
    """``(T, H, W, 3)`` uint8 RGB, memory-mapped."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        frames = _memory_map(path)
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise MediaError(
                f"{path} holds {frames.shape} {frames.dtype}; frames must be (T, H, W, 3) uint8 RGB"
            )
        if not frames.size:
            raise MediaError(f"{path} holds no frames: {frames.shape}")
        super().__init__(rate, length=len(frames))
        self._path = path
        self._count = len(frames)

    def images(self) -> Iterator[Image]:
        for index in range(self._count):
            # Mapped again for every frame: pages once read count as memory while a map lives.
            yield np.array(_memory_map(self._path)[index])


def _memory_map(path: Path) -> NDArray[Any]:
    try:
        # Maps the file's bytes only: what NumPy would unpack or unpickle is refused.
        return npy.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MediaError(f"cannot read the array {path}: {reason}") from None
