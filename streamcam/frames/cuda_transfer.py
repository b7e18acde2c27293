"""The frame path of a device of its own: bytes across the bus, and all else beyond it."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamcam.frames.copy_streams import CALLS_AT_ONCE, CopyStreams
from streamcam.frames.resize import Resampler
from streamcam.frames.transfer import DownloadedImage, WaitForDownload
from streamcam.frames.yuv import Packer
from streamcam.geometry import Size, fit_axes
from streamcam.pixels import Vector, as_vector, size_in_bytes
from streamcam.settings.config import Config
from streamcam.types import Bytes, Image

SAMPLED = 4
"""One pixel in so many, across and down, tells how alike frames are: it is a mean over pixels."""


class OutputFormat(NamedTuple):
    """What pictures are when they come back."""

    size: Size
    fit: str
    """How a picture of another aspect ratio meets `size`."""
    pixel_format: str | None
    """The one to give beside RGB, of those in `streamcam.frames.yuv`."""


def output_format(config: Config, *, on_air: bool) -> OutputFormat:
    """Return what pictures of `config` are: on the canvas and ready to go out, if `on_air`."""
    if not on_air:
        return OutputFormat((config.width, config.height), config.fit, None)
    broadcast = config.broadcast
    other = None if broadcast.pixel_format == "rgb" else broadcast.pixel_format
    return OutputFormat(broadcast.canvas, broadcast.canvas_fit, other)


class CudaTransfer:
    """Fits, normalises and converts on the device, in memory that is there from the start.

    There is memory on the way for each of `CALLS_AT_ONCE`, so that no copy waits for another: of
    so many calls the first one must have been waited for, by its images or by `synchronize`,
    before the frames of the next are uploaded. Downloaded images own their memory while held.
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
        self._frames = config.frame_buffer_size
        self._count, self._turn = 0, 0
        self._batch = torch.empty(self._frames, 3, config.height, config.width, device=device)
        self._entrance: _UploadBuffers | None = None
        self._exit = _DownloadBuffers(self._frames, self._size, output_format, device)

    def prepare(self, image: Image) -> Image:
        return image

    def similarity_vector(self, image: Image) -> Vector:
        sampled: Image = image[self._entrance_for(image).grid]
        return as_vector(sampled)

    def upload(self, image: Image) -> None:
        entrance, place = self._entrance_for(image), (self._turn, self._count)
        np.copyto(entrance.arrays[place], image)
        staged, raw = entrance.staged[place], entrance.raw[place]
        self._copy_streams.upload(partial(raw.copy_, staged, non_blocking=True))
        entrance.enter(raw, self._batch[self._count])
        self._count += 1

    def batch(self) -> Tensor:
        if self._count < self._frames:
            self._batch[self._count :].copy_(self._batch[self._count - 1])
        self._count, self._turn = 0, (self._turn + 1) % CALLS_AT_ONCE
        return self._batch

    def clear(self) -> None:
        self._count = 0

    def send(self, tensor: Tensor) -> Tensor:
        held = tensor.pin_memory() if self._copy_streams.pins else tensor
        return held.to(self._device, non_blocking=True)

    def download(self, pictures: Tensor) -> tuple[list[DownloadedImage], WaitForDownload]:
        ready = self._exit.leave(pictures)
        # Pinned memory comes from torch's own pool, and goes back to it with the pictures.
        host = torch.empty(ready.shape, dtype=torch.uint8, pin_memory=self._copy_streams.pins)
        wait = self._copy_streams.download(partial(host.copy_, ready, non_blocking=True))
        return [self._exit.picture(row) for row in host.numpy()], wait

    def synchronize(self) -> None:
        self._copy_streams.synchronize()

    def _entrance_for(self, image: Image) -> "_UploadBuffers":
        """Return where frames of this one's size come in; there is one for one size at a time."""
        height, width, _ = image.shape
        if self._entrance is None or self._entrance.source != (width, height):
            self._entrance = _UploadBuffers(
                (width, height),
                self._size,
                self._fit,
                frames=self._frames,
                device=self._device,
                pins=self._copy_streams.pins,
            )
            self._copy_streams.wait_for_model()
        return self._entrance


class _UploadBuffers:
    """Where frames of one size come in."""

    def __init__(
        self, source: Size, target: Size, fit: str, *, frames: int, device: torch.device, pins: bool
    ) -> None:
        self.source = source
        shape = (CALLS_AT_ONCE, frames, source[1], source[0], 3)
        self.staged = torch.empty(shape, dtype=torch.uint8, pin_memory=pins)
        self.arrays = self.staged.numpy()
        self.raw = torch.empty(shape, dtype=torch.uint8, device=device)
        x, y = (
            (axis.begin + (np.arange(n) + 0.5) * (axis.end - axis.begin) / n).astype(np.intp)
            for axis, side in zip(fit_axes(source, target, fit), target, strict=True)
            for n in [-(-side // SAMPLED)]
        )
        self.grid = np.ix_(y, x)
        """The pixels that the similarity filter looks at."""
        self._fitting = None
        if source != target:
            self._fitting = _DeviceResizer(source, target, fit, planes=3, device=device)

    def enter(self, raw: Tensor, out: Tensor) -> None:
        """Write a frame ``(h, w, 3)`` uint8 to `out` ``(3, H, W)`` in [-1, 1]."""
        planes = raw.permute(2, 0, 1)
        out.copy_(planes if self._fitting is None else self._fitting(planes))
        out.div_(127.5).sub_(1)


class _DownloadBuffers:
    """Where pictures go out: one row of bytes each, RGB first."""

    def __init__(
        self, frames: int, size: Size, output_format: OutputFormat, device: torch.device
    ) -> None:
        width, height = output_format.size
        self._shape = (height, width, 3)
        self._rgb = height * width * 3
        self._given = torch.empty(frames, 3, size[1], size[0], device=device)
        self._levels, self._fitting = self._given, None
        if size != output_format.size:
            self._fitting = _DeviceResizer(
                size, output_format.size, output_format.fit, planes=3 * frames, device=device
            )
            self._levels = torch.empty(frames, 3, height, width, device=device)
        self._packer, extra = None, 0
        if output_format.pixel_format is not None:
            self._packer = Packer(output_format.pixel_format, (frames, height, width), device)
            extra = size_in_bytes(output_format.pixel_format, output_format.size)
        self._ready = torch.empty(
            CALLS_AT_ONCE, frames, self._rgb + extra, dtype=torch.uint8, device=device
        )
        self._turn = 0

    def leave(self, pictures: Tensor) -> Tensor:
        """Return ``(f, bytes)`` of `pictures` ``(f, 3, h, w)``, on the device."""
        given, levels = self._given.copy_(pictures).add_(1).mul_(127.5), self._levels
        if self._fitting is not None:
            levels.copy_(self._fitting(given.clamp_(0, 255).flatten(0, 1)).view_as(levels))
        levels.round_().clamp_(0, 255)
        self._turn = (self._turn + 1) % CALLS_AT_ONCE
        ready = self._ready[self._turn]
        ready[:, : self._rgb].view(-1, *self._shape).copy_(levels.permute(0, 2, 3, 1))
        if self._packer is not None:
            self._packer(levels, ready[:, self._rgb :])
        return ready

    def picture(self, row: Bytes) -> DownloadedImage:
        """Return the picture whose bytes `row` are."""
        packed = None if self._packer is None else row[self._rgb :]
        return DownloadedImage(row[: self._rgb].reshape(self._shape), packed)


class _DeviceResizer:
    """A resampler with the memory for what goes in and what comes out."""

    def __init__(
        self, source: Size, target: Size, fit: str, *, planes: int, device: torch.device
    ) -> None:
        # Half precision is off by less than a quarter of a level, and much faster on a card.
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        self._resampler = Resampler(source, target, fit, planes=planes, device=device, dtype=dtype)
        self._given = torch.empty(planes, source[1], source[0], dtype=dtype, device=device)
        self._fitted = torch.empty(planes, target[1], target[0], dtype=dtype, device=device)

    def __call__(self, levels: Tensor) -> Tensor:
        """Return ``(planes, H, W)`` of `levels` ``(planes, h, w)``, 0 to 255, of any type."""
        return self._resampler(self._given.copy_(levels), self._fitted)
