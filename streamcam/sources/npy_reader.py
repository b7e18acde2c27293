"""Frames of a ``.npy`` array, read from disk one at a time."""

import io
import tokenize
from collections.abc import Iterator
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from streamcam.errors import MediaError
from streamcam.sources.file_source import FileSource
from streamcam.sources.image_decoder import check_size
from streamcam.system.regular_file import open_regular
from streamcam.types import Image

HEADER_BYTES = 65_536
"""Read of a file to find its header, which may claim to have 4 GB."""
LONGEST_SIDE = 1 << 60
HEADER_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    SyntaxError,
    RecursionError,
    MemoryError,
    EOFError,
    tokenize.TokenError,
)
"""What NumPy and Python's parser raise over headers that are damaged or hostile."""


class Header(NamedTuple):
    """Shape and type of an array, and the place in the file where its data begin."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[np.generic]
    offset: int


class NpyReader(FileSource):
    """``(T, H, W, 3)`` uint8 RGB, read frame by frame.

    Raises:
        MediaError: it is damaged, holds something else, or frames that are too large.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        self._path = path
        try:
            with open_regular(path) as file:
                self._header = _read_header(file)
                held = file.seek(0, io.SEEK_END) - self._header.offset
        except OSError as error:
            raise MediaError(f"cannot read the array {path}: {error.strerror}") from None
        except HEADER_ERRORS as error:
            reason = str(error).partition("\n")[0][:200] or type(error).__name__
            raise MediaError(f"cannot read the array {path}: {reason}") from None
        _check(self._header, held, path)
        super().__init__(rate, length=self._header.shape[0])

    def images(self) -> Iterator[Image]:
        try:
            with open_regular(self._path) as file:
                for index in range(self._header.shape[0]):
                    yield self._read_frame(file, index)
        except (OSError, EOFError, ValueError) as error:
            raise MediaError(
                f"cannot read the array {self._path}: {getattr(error, 'strerror', None) or error}"
            ) from None

    def _read_frame(self, file: BinaryIO, index: int) -> Image:
        shape, fortran_order, _, offset = self._header
        if fortran_order:
            # The bytes of a frame lie all over the file. Mapped again for every frame: pages once
            # read count as memory while a map lives.
            frames = np.memmap(file, np.uint8, "r", offset, shape, "F")
            return np.array(frames[index])
        frame = np.empty(shape[1:], np.uint8)
        file.seek(offset + index * frame.size)
        # Not mapped: reading pages of a file that was cut off meanwhile would end the process.
        if file.readinto(frame.data) < frame.size:  # type: ignore[attr-defined]
            raise EOFError(f"it ends within frame {index}")
        return frame


def _read_header(file: BinaryIO) -> Header:
    head = io.BytesIO(file.read(HEADER_BYTES))
    version = npy.read_magic(head)
    # Version 3.0 differs from 2.0 in the names of fields alone, which frames do not have.
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    if version[0] > 3:
        raise ValueError(f"version {version[0]}.{version[1]} of the format is unknown")
    shape, fortran_order, dtype = read(head)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which could run code; save it as uint8")
    if any(abs(side) > LONGEST_SIDE for side in shape):
        raise ValueError("a side is longer than any disk")
    return Header(shape, fortran_order, dtype, head.tell())


def _check(header: Header, held: int, path: Path) -> None:
    """Raise MediaError unless the array is of frames, all of which the file holds."""
    shape, dtype = header.shape, header.dtype
    if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:
        raise MediaError(
            f"{path} holds {shape} {dtype}; frames must be (T, H, W, 3) uint8 RGB"[:300]
        )
    if min(shape) < 1:
        raise MediaError(f"{path} holds no frames: {shape}"[:300])
    try:
        check_size(shape[2], shape[1])
    except ValueError as error:
        raise MediaError(f"cannot read the array {path}: {error}"[:300]) from None
    if prod(shape) > held:
        raise MediaError(
            f"cannot read the array {path}: it is cut off, with {held} bytes of {prod(shape)}"[:300]
        )
