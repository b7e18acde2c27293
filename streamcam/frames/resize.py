"""Resize on the device as two matrix products, with the results of Pillow's Lanczos.

Crop, bars and filter are all in the matrices, so no device needs code for any of them.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from streamcam.geometry import AxisFit, Size, fit_axes

MARGIN = 0.95
"""One order of the two passes is preferred only where it costs less than this share."""


def weights(source: int, target: int, axis: AxisFit) -> NDArray[np.float32]:
    """Return the ``(target, source)`` float32 matrix that resizes one axis by Lanczos.

    It is Pillow's own: resizing is linear, so the resized identity matrix is the operation itself.
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
    """Resizes planes from one size to another, into preallocated memory.

    Args:
        source: (width, height) of the input.
        target: (width, height) of the output.
        fit: "fill", "fit" or "stretch".
        planes: how many are resized at once.
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
        # The order matters where noise overshoots: this is the order that Pillow was seen to use.
        down_is_cheaper = source[0] * y.length < MARGIN * source[1] * x.length
        self._across_first = not (y.length < source[1] and down_is_cheaper)
        shape = (source[1], target[0]) if self._across_first else (target[1], source[0])
        self._intermediate = torch.empty(planes, *shape, device=device, dtype=dtype)

    def __call__(self, planes: Tensor, out: Tensor) -> Tensor:
        """Write `planes` ``(planes, h, w)`` resized into `out` ``(planes, H, W)``, and return it.

        Both are levels, 0 to 255; bars are zero. The pass that shrinks more is first, and
        overshoot is clipped after each, as in Pillow.
        """
        if self._across_first:
            torch.bmm(planes, self._across, out=self._intermediate).clamp_(0, 255)
            return torch.bmm(self._down, self._intermediate, out=out).clamp_(0, 255)
        torch.bmm(self._down, planes, out=self._intermediate).clamp_(0, 255)
        return torch.bmm(self._intermediate, self._across, out=out).clamp_(0, 255)


class DeviceResizer:
    """A resampler with the memory for its input and its output."""

    def __init__(
        self, source: Size, target: Size, fit: str, *, planes: int, device: torch.device
    ) -> None:
        # Half precision is off by less than a quarter of a level, and much faster on a GPU.
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        self._resampler = Resampler(source, target, fit, planes=planes, device=device, dtype=dtype)
        self._input = torch.empty(planes, source[1], source[0], dtype=dtype, device=device)
        self._output = torch.empty(planes, target[1], target[0], dtype=dtype, device=device)

    def __call__(self, levels: Tensor) -> Tensor:
        """Return ``(planes, H, W)`` of `levels` ``(planes, h, w)``, 0 to 255, of any dtype."""
        return self._resampler(self._input.copy_(levels), self._output)
