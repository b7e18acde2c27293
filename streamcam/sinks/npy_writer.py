"""Frames appended to a ``.npy`` array."""

from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from streamcam.sinks.atomic_file import AtomicOutput
from streamcam.types import Frame


class NpyWriter(AtomicOutput):
    """``(T, H, W, 3)`` uint8 RGB, written frame by frame.

    The format keeps room in its header for the first axis to grow: the count is written
    every `HEADER_EVERY` frames and at the end, so that a crash leaves a readable array.
    """

    HEADER_EVERY = 30

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        super().__init__(path, overwrite=overwrite)
        self._count = 0
        self._frame_shape: tuple[int, ...] = (0, 0, 3)

    def create(self) -> None:
        self._file = self.temporary_path.open("xb")

    def write(self, frame: Frame) -> None:
        if not self._count:
            self._frame_shape = frame.image.shape
            self._write_header()
        self._file.write(np.ascontiguousarray(frame.image).data)
        self._count += 1
        if self._count % self.HEADER_EVERY == 0:
            self._file.flush()
            self._write_header()
            self._file.seek(0, 2)

    def _write_header(self) -> None:
        self._file.seek(0)
        npy.write_array_header_1_0(
            self._file,
            {"descr": "|u1", "fortran_order": False, "shape": (self._count, *self._frame_shape)},
        )

    def finish(self) -> None:
        self._file.flush()
        self._write_header()
        self._file.close()

    def abort(self) -> None:
        if hasattr(self, "_file"):
            # The error to report is the one of the write that failed.
            with suppress(OSError):
                self._file.close()
