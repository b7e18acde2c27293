"""Resizing as mathematics: a picture between two matrices, which any device multiplies fast.

Crop, bars and Lanczos are all in the matrices, so a device needs no code for either, and what it
gives is what Pillow gives.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from streamcam.geometry import AxisFit, Size, fit_axes

NOTABLY = 0.95


def weights(source: int, target: int, axis: AxisFit) -> NDArray[np.float32]:
    """Return the ``(target, source)`` float32 matrix that resizes one axis by Lanczos.

    Pillow's own: resizing is linear, so what it makes of the identity is what it does.
    """
    matrix = np.zeros((target, source), np.float32)
    identity = Pillow.fromarray(np.eye(source, dtype=np.float32))
    matrix[axis.covered] = np.asarray(
        identity.resize(
            (source, axis.length), Pillow.Resampling.LANCZOS, box=(0, axis.begin, source, axis.end)
        )
    )
    return matrix


class Resampler:
    """Fits planes of one size to another, into memory that is there already.

    Args:
        source: (width, height) of what comes.
        target: (width, height) of what goes.
        fit: "fill", "fit" or "stretch".
        planes: how many are fitted at once.
        device: where the planes are.
        dtype: of the planes; float16 is off by less than a quarter of a level.
    """

    def __init__(
        self,
        source: Size,
        target: Size,
        fit: str,
        *,
        planes: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        x, y = fit_axes(source, target, fit)
        across = torch.from_numpy(weights(source[0], target[0], x).T.copy())
        down = torch.from_numpy(weights(source[1], target[1], y))
        self._across = across.to(device, dtype).expand(planes, -1, -1)
        self._down = down.to(device, dtype).expand(planes, -1, -1)
        narrow, low = (source[1], target[0]), (target[1], source[0])
        # The order matters where noise overshoots: this is what Pillow was seen to do.
        less = source[0] * y.length < NOTABLY * source[1] * x.length
        self._across_first = not (y.length < source[1] and less)
        between = narrow if self._across_first else low
        self._between = torch.empty(planes, *between, device=device, dtype=dtype)

    def __call__(self, planes: Tensor, out: Tensor) -> Tensor:
        """Return `out` ``(planes, H, W)``, written anew from `planes` ``(planes, h, w)``.

        Both are levels, 0 to 255; bars are zero. What makes it smaller goes first, and what
        overshoots is clipped each time, as in Pillow.
        """
        if self._across_first:
            torch.bmm(planes, self._across, out=self._between).clamp_(0, 255)
            return torch.bmm(self._down, self._between, out=out).clamp_(0, 255)
        torch.bmm(self._down, planes, out=self._between).clamp_(0, 255)
        return torch.bmm(self._between, self._across, out=out).clamp_(0, 255)
