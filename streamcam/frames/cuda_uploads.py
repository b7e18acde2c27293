"""Frames on a GPU: uploaded as bytes, then resized and normalised where they are."""

from collections.abc import Hashable

import numpy as np
import torch
from torch import Tensor

from streamcam.frames.copy_streams import CALLS_AT_ONCE
from streamcam.frames.resize import DeviceResizer
from streamcam.geometry import Size, fit_axes

SIMILARITY_STRIDE = 4
"""The similarity filter compares one pixel in so many, across and down: it takes a mean of all."""


class UploadBuffers:
    """Memory in which frames of one size are uploaded and resized."""

    def __init__(
        self, source: Size, target: Size, fit: str, *, frames: int, device: torch.device, pins: bool
    ) -> None:
        self.source = source
        shape = (CALLS_AT_ONCE, frames, source[1], source[0], 3)
        self.host = torch.empty(shape, dtype=torch.uint8, pin_memory=pins)
        self.host_arrays = self.host.numpy()
        self.raw = torch.empty(shape, dtype=torch.uint8, device=device)
        x, y = (
            (axis.begin + (np.arange(n) + 0.5) * (axis.end - axis.begin) / n).astype(np.intp)
            for axis, side in zip(fit_axes(source, target, fit), target, strict=True)
            for n in [-(-side // SIMILARITY_STRIDE)]
        )
        self.sampled_pixels = np.ix_(y, x)
        """Indices of the pixels that the similarity filter compares."""
        self._resizer = None
        if source != target:
            self._resizer = DeviceResizer(source, target, fit, planes=3, device=device)

    def normalise(self, turn: int, begin: int, batch: Tensor) -> None:
        """Write the frames of a turn, from `begin` on, to `batch` ``(f, 3, H, W)`` in [-1, 1]."""
        for raw, out in zip(self.raw[turn, begin:], batch[begin:], strict=False):
            planes = raw.permute(2, 0, 1)
            out.copy_(planes if self._resizer is None else self._resizer(planes))
            out.div_(127.5).sub_(1)


class FramesOnDevice:
    """Frames on the device, as they came; see `UploadedFrames`."""

    def __init__(
        self, buffers: UploadBuffers, turn: int, rest: tuple[int, int], batch: Tensor
    ) -> None:
        """Take the frames of `turn`; of the batch, those in ``range(*rest)`` are still missing."""
        self._buffers, self._turn, self._batch = buffers, turn, batch
        self._begin, self._end = rest
        self.slot: Hashable = turn
        is_whole = rest == (0, len(batch))
        self.memory: object = buffers if is_whole else None

    def batch(self) -> Tensor:
        if self._begin < self._end:
            self._buffers.normalise(self._turn, self._begin, self._batch[: self._end])
        if self._end < len(self._batch):
            self._batch[self._end :].copy_(self._batch[self._end - 1])
        return self._batch
