"""Outputs on a GPU: resized and converted to bytes there, then downloaded."""

from collections.abc import Hashable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.errors import EngineError
from streamcam.frames.copy_streams import CALLS_AT_ONCE, CopyStreams
from streamcam.frames.image_tensors import NOT_A_NUMBER
from streamcam.frames.resize import DeviceResizer
from streamcam.frames.transfer import DownloadedImage, WaitForDownload
from streamcam.frames.yuv import Packer
from streamcam.geometry import Size
from streamcam.pixels import size_in_bytes
from streamcam.types import Bytes


class OutputFormat(NamedTuple):
    """Size and pixel format in which outputs are downloaded."""

    size: Size
    fit: str
    """How an output of another aspect ratio is placed in `size`."""
    pixel_format: str | None
    """The format to download next to RGB, of those in `streamcam.frames.yuv`."""


class OutputBuffers:
    """Memory in which outputs are resized and converted: a row of bytes each.

    RGB comes first, then the pixel format of the broadcast, and at the end whether the output
    holds NaN, so that nothing but the one copy is waited for.
    """

    def __init__(
        self, frames: int, size: Size, output_format: OutputFormat, device: torch.device
    ) -> None:
        width, height = output_format.size
        self._shape = (height, width, 3)
        self._rgb_bytes = height * width * 3
        self._outputs = torch.empty(frames, 3, size[1], size[0], device=device)
        self._levels, self._resizer = self._outputs, None
        if size != output_format.size:
            self._resizer = DeviceResizer(
                size, output_format.size, output_format.fit, planes=3 * frames, device=device
            )
            self._levels = torch.empty(frames, 3, height, width, device=device)
        self._packer, packed_bytes = None, 0
        if output_format.pixel_format is not None:
            self._packer = Packer(output_format.pixel_format, (frames, height, width), device)
            packed_bytes = size_in_bytes(output_format.pixel_format, output_format.size)
        self._packed = torch.empty(
            (CALLS_AT_ONCE, frames, self._rgb_bytes + packed_bytes + 1),
            dtype=torch.uint8,
            device=device,
        )
        self._totals = torch.empty(frames, device=device)
        self.clear()

    def clear(self) -> None:
        """Begin with the memory of the first call again."""
        self._turn = 0

    def next_turn(self) -> int:
        """Return which memory comes next."""
        self._turn = (self._turn + 1) % CALLS_AT_ONCE
        return self._turn

    def packed(self, turn: int) -> Tensor:
        """Return the bytes ``(f, bytes)`` that were last converted in `turn`, on the device."""
        return self._packed[turn]

    def convert(self, outputs: Tensor, turn: int) -> None:
        """Convert `outputs` ``(f, 3, h, w)`` into the memory of `turn`."""
        scaled, levels = self._outputs.copy_(outputs).add_(1).mul_(127.5), self._levels
        if self._resizer is not None:
            levels.copy_(self._resizer(scaled.clamp_(0, 255).flatten(0, 1)).view_as(levels))
        packed = self._packed[turn]
        levels.round_().clamp_(0, 255)
        # NaN stays in a sum, and alone is not equal to itself.
        torch.sum(levels.flatten(1), 1, out=self._totals)
        torch.ne(self._totals, self._totals, out=packed[:, -1])
        packed[:, : self._rgb_bytes].view(-1, *self._shape).copy_(levels.permute(0, 2, 3, 1))
        if self._packer is not None:
            self._packer(levels, packed[:, self._rgb_bytes : -1])

    def image(self, row: Bytes) -> DownloadedImage:
        """Return the image in the bytes of `row`."""
        packed = None if self._packer is None else row[self._rgb_bytes : -1]
        return DownloadedImage(row[: self._rgb_bytes].reshape(self._shape), packed)


class PackedOutputs:
    """The bytes of the outputs of one call; see `OutputBuffer`."""

    def __init__(self, buffers: OutputBuffers, copy_streams: CopyStreams) -> None:
        self._buffers, self._copy_streams = buffers, copy_streams
        self._turn = buffers.next_turn()
        self.slot: Hashable = self._turn

    def write(self, outputs: Tensor) -> None:
        self._buffers.convert(outputs, self._turn)

    def download(self) -> tuple[list[DownloadedImage], WaitForDownload]:
        packed, pins = self._buffers.packed(self._turn), self._copy_streams.pins
        # Pinned memory comes from torch's own pool, and returns to it with the images.
        host = torch.empty(packed.shape, dtype=torch.uint8, pin_memory=pins)
        rows = host.numpy()
        rows[:, -1] = False  # Memory that is used again may say otherwise until the copy is made.
        copied = self._copy_streams.download(partial(host.copy_, packed, non_blocking=True))

        def wait() -> None:
            copied()
            if rows[:, -1].any():
                raise EngineError(NOT_A_NUMBER)

        return [self._buffers.image(row) for row in rows], wait
