"""Transfer for a GPU: only bytes cross the bus, and the GPU resizes, normalises and converts."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamcam.errors import EngineError
from streamcam.frames.copy_streams import CALLS_AT_ONCE, CopyStreams
from streamcam.frames.image_tensors import NOT_A_NUMBER
from streamcam.frames.resize import Resampler
from streamcam.frames.transfer import DownloadedImage, WaitForDownload
from streamcam.frames.yuv import Packer
from streamcam.geometry import Size, fit_axes
from streamcam.pixels import Vector, as_vector, size_in_bytes
from streamcam.settings.config import Config
from streamcam.types import Bytes, Image

SIMILARITY_STRIDE = 4
"""The similarity filter compares one pixel in so many, across and down: it takes a mean of all."""


class OutputFormat(NamedTuple):
    """Size and pixel format in which outputs are downloaded."""

    size: Size
    fit: str
    """How an output of another aspect ratio is placed in `size`."""
    pixel_format: str | None
    """The format to download next to RGB, of those in `streamcam.frames.yuv`."""


def output_format(config: Config, *, on_air: bool) -> OutputFormat:
    """Return the format of the canvas of a broadcast if `on_air`, else the model's own size."""
    if not on_air:
        return OutputFormat((config.width, config.height), config.fit, None)
    broadcast = config.broadcast
    pixel_format = None if broadcast.pixel_format == "rgb" else broadcast.pixel_format
    return OutputFormat(broadcast.canvas, broadcast.canvas_fit, pixel_format)


class CudaTransfer:
    """Resizes, normalises and converts on the device, in memory that is allocated once.

    There are buffers for each of `CALLS_AT_ONCE`, so that no copy waits for another: of so many
    calls the first one must have been waited for, by its images or by `synchronize`, before the
    frames of the next are uploaded. Downloaded images own their memory while they are referenced.
    """

    on_device = True

    def __init__(
        self,
        config: Config,
        device: torch.device,
        copy_streams: CopyStreams,
        output_format: OutputFormat,
    ) -> None:
        self._device, self._copy_streams = device, copy_streams
        self._size, self._fit = (config.width, config.height), config.fit
        self._capacity = config.burst
        self._count, self._turn = 0, 0
        self._batch = torch.empty(self._capacity, 3, config.height, config.width, device=device)
        self._uploads: _UploadBuffers | None = None
        self._output_format = output_format
        self._downloads: dict[int, _DownloadBuffers] = {}
        self._buffers_of(config.chunk)  # Allocated now; a video's first chunk has one more frame.

    def prepare(self, image: Image) -> Image:
        return image

    def similarity_vector(self, image: Image) -> Vector:
        sampled: Image = image[self._buffers_for(image).sampled_pixels]
        return as_vector(sampled)

    def upload(self, image: Image) -> None:
        buffers, slot = self._buffers_for(image), (self._turn, self._count)
        np.copyto(buffers.host_arrays[slot], image)
        host, raw = buffers.host[slot], buffers.raw[slot]
        self._copy_streams.upload(partial(raw.copy_, host, non_blocking=True))
        buffers.normalise(raw, self._batch[self._count])
        self._count += 1

    def batch(self, count: int) -> Tensor:
        batch = self._batch[:count]
        if self._count < count:
            batch[self._count :].copy_(batch[self._count - 1])
        self._count, self._turn = 0, (self._turn + 1) % CALLS_AT_ONCE
        return batch

    def clear(self) -> None:
        self._count = 0

    def to_device(self, tensor: Tensor) -> Tensor:
        host = tensor.pin_memory() if self._copy_streams.pins else tensor
        return host.to(self._device, non_blocking=True)

    def download(self, outputs: Tensor) -> tuple[list[DownloadedImage], WaitForDownload]:
        buffers = self._buffers_of(len(outputs))
        packed = buffers.convert(outputs)
        # Pinned memory comes from torch's own pool, and returns to it with the images.
        host = torch.empty(packed.shape, dtype=torch.uint8, pin_memory=self._copy_streams.pins)
        rows = host.numpy()
        rows[:, -1] = False  # Memory that is used again may say otherwise until the copy is made.
        copied = self._copy_streams.download(partial(host.copy_, packed, non_blocking=True))

        def wait() -> None:
            copied()
            if rows[:, -1].any():
                raise EngineError(NOT_A_NUMBER)

        return [buffers.image(row) for row in rows], wait

    def synchronize(self) -> None:
        self._copy_streams.synchronize()

    def _buffers_for(self, image: Image) -> "_UploadBuffers":
        """Return the buffers for frames of this size; they exist for one size at a time."""
        height, width, _ = image.shape
        if self._uploads is None or self._uploads.source != (width, height):
            self._uploads = _UploadBuffers(
                (width, height),
                self._size,
                self._fit,
                frames=self._capacity,
                device=self._device,
                pins=self._copy_streams.pins,
            )
            self._copy_streams.wait_for_model()
        return self._uploads

    def _buffers_of(self, count: int) -> "_DownloadBuffers":
        """Return the buffers for this number of outputs; a video has two or three."""
        if count not in self._downloads:
            self._downloads[count] = _DownloadBuffers(
                count, self._size, self._output_format, self._device
            )
        return self._downloads[count]


class _UploadBuffers:
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
            self._resizer = _DeviceResizer(source, target, fit, planes=3, device=device)

    def normalise(self, raw: Tensor, out: Tensor) -> None:
        """Write a frame ``(h, w, 3)`` uint8, resized, to `out` ``(3, H, W)`` in [-1, 1]."""
        planes = raw.permute(2, 0, 1)
        out.copy_(planes if self._resizer is None else self._resizer(planes))
        out.div_(127.5).sub_(1)


class _DownloadBuffers:
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
            self._resizer = _DeviceResizer(
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
        self._turn = 0

    def convert(self, outputs: Tensor) -> Tensor:
        """Return the bytes ``(f, bytes)`` of `outputs` ``(f, 3, h, w)``, on the device."""
        scaled, levels = self._outputs.copy_(outputs).add_(1).mul_(127.5), self._levels
        if self._resizer is not None:
            levels.copy_(self._resizer(scaled.clamp_(0, 255).flatten(0, 1)).view_as(levels))
        self._turn = (self._turn + 1) % CALLS_AT_ONCE
        packed = self._packed[self._turn]
        levels.round_().clamp_(0, 255)
        # NaN stays in a sum, and alone is not equal to itself.
        torch.sum(levels.flatten(1), 1, out=self._totals)
        torch.ne(self._totals, self._totals, out=packed[:, -1])
        packed[:, : self._rgb_bytes].view(-1, *self._shape).copy_(levels.permute(0, 2, 3, 1))
        if self._packer is not None:
            self._packer(levels, packed[:, self._rgb_bytes : -1])
        return packed

    def image(self, row: Bytes) -> DownloadedImage:
        """Return the image in the bytes of `row`."""
        packed = None if self._packer is None else row[self._rgb_bytes : -1]
        return DownloadedImage(row[: self._rgb_bytes].reshape(self._shape), packed)


class _DeviceResizer:
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
