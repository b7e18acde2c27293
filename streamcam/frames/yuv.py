"""Convert RGB to the YUV pixel formats of virtual cameras on the device.

The levels are those that `streamcam.pixels` gives by OpenCV: BT.601 in limited range, with the
chroma of every second pixel of every second row.
"""

from collections.abc import Callable

import torch
from torch import Tensor

RGB_TO_YUV = torch.tensor(
    [
        [269484, 528482, 102760],
        [-155188, -305135, 460324],
        [460324, -385875, -74448],
    ]
)
"""Y, U and V of R, G and B, in units of 2^-20 (OpenCV's, of ITU-R BT.601-7, section 2.5)."""
YUV_OF_BLACK = (16.0, 128.0, 128.0)

Planes = tuple[Tensor, Tensor, Tensor]
Layout = Callable[[Tensor, int, int], Planes]
"""Views of packed bytes ``(f, bytes)`` for images of a height and a width.

Y is ``(f, H, W)``; U and V are ``(f, H / 2, r, W / 2)``, each row of chroma being stored r times.
"""


def _i420(packed: Tensor, height: int, width: int) -> Planes:
    area = height * width
    u, v = packed[:, area:].view(-1, 2, height // 2, 1, width // 2).unbind(1)
    return packed[:, :area].view(-1, height, width), u, v


def _nv12(packed: Tensor, height: int, width: int) -> Planes:
    area = height * width
    u, v = packed[:, area:].view(-1, height // 2, 1, width // 2, 2).unbind(-1)
    return packed[:, :area].view(-1, height, width), u, v


def _yuyv(packed: Tensor, height: int, width: int) -> Planes:
    quads = packed.view(-1, height // 2, 2, width // 2, 4)
    return packed.view(-1, height, width, 2)[..., 0], quads[..., 1], quads[..., 3]


def _uyvy(packed: Tensor, height: int, width: int) -> Planes:
    quads = packed.view(-1, height // 2, 2, width // 2, 4)
    return packed.view(-1, height, width, 2)[..., 1], quads[..., 0], quads[..., 2]


LAYOUTS: dict[str, Layout] = {"i420": _i420, "nv12": _nv12, "yuyv": _yuyv, "uyvy": _uyvy}


class Packer:
    """Converts images of one size to one of `LAYOUTS`, into preallocated memory.

    Args:
        pixel_format: one of `LAYOUTS`.
        shape: ``(f, H, W)`` of the images; sides must be even.
        device: where they are.
    """

    def __init__(
        self, pixel_format: str, shape: tuple[int, int, int], device: torch.device
    ) -> None:
        frames, self._height, self._width = shape
        self._layout = LAYOUTS[pixel_format]
        self._matrix = (RGB_TO_YUV / 2**20).to(device).expand(frames, -1, -1)
        # Half a level is added, since conversion to bytes truncates.
        self._offset = (torch.tensor(YUV_OF_BLACK) + 0.5).reshape(1, 3, 1).to(device)
        self._yuv = torch.empty(frames, 3, self._height * self._width, device=device)

    def __call__(self, levels: Tensor, out: Tensor) -> None:
        """Write `levels` ``(f, 3, H, W)``, whole float32 0 to 255, into `out`, bytes ``(f, …)``."""
        torch.baddbmm(self._offset, self._matrix, levels.flatten(2), out=self._yuv)
        all_y, all_u, all_v = self._yuv.view(-1, 3, self._height, self._width).unbind(1)
        y, u, v = self._layout(out, self._height, self._width)
        y.copy_(all_y)
        u.copy_(all_u[:, ::2, ::2].unsqueeze(2))
        v.copy_(all_v[:, ::2, ::2].unsqueeze(2))
