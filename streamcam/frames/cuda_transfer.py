"""Transfer for a GPU: only bytes cross the bus, and the GPU resizes, normalises and converts."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from streamcam.frames.copy_streams import CALLS_AT_ONCE, CopyStreams
from streamcam.frames.cuda_outputs import OutputBuffers, OutputFormat, PackedOutputs
from streamcam.frames.cuda_uploads import FramesOnDevice, UploadBuffers
from streamcam.frames.transfer import (
    DownloadedImage,
    OutputBuffer,
    UploadedFrames,
    WaitForDownload,
)
from streamcam.pixels import Vector, as_vector
from streamcam.settings.config import Config
from streamcam.types import Image


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
        self._turn, self._count, self._normalised = 0, 0, 0
        self._batch = torch.empty(self._capacity, 3, config.height, config.width, device=device)
        self._uploads: UploadBuffers | None = None
        self._output_format = output_format
        self._downloads: dict[int, OutputBuffers] = {}
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
        self._count += 1

    def uploaded(self, count: int) -> UploadedFrames:
        assert self._uploads is not None
        frames = FramesOnDevice(
            self._uploads, self._turn, (self._normalised, self._count), self._batch[:count]
        )
        self._count, self._normalised, self._turn = 0, 0, (self._turn + 1) % CALLS_AT_ONCE
        return frames

    def batch(self, count: int) -> Tensor:
        return self.uploaded(count).batch()

    def clear(self) -> None:
        self._turn = self._count = self._normalised = 0
        for buffers in self._downloads.values():
            buffers.clear()

    def copy_to_device(self, target: Tensor, source: Tensor) -> None:
        host = source.pin_memory() if self._copy_streams.pins else source
        target.copy_(host, non_blocking=True)

    def output_buffer(self, count: int) -> OutputBuffer:
        return PackedOutputs(self._buffers_of(count), self._copy_streams)

    def download(self, outputs: Tensor) -> tuple[list[DownloadedImage], WaitForDownload]:
        buffer = self.output_buffer(len(outputs))
        buffer.write(outputs)
        return buffer.download()

    def synchronize(self) -> None:
        self._copy_streams.synchronize()

    def _buffers_for(self, image: Image) -> UploadBuffers:
        """Return the buffers for frames of this size; they exist for one size at a time."""
        height, width, _ = image.shape
        if self._uploads is None or self._uploads.source != (width, height):
            if self._uploads is not None and self._count:
                # Frames of the next call came in another size: they are resized in theirs.
                turn, begin = self._turn, self._normalised
                self._uploads.normalise(turn, begin, self._batch[: self._count])
                self._normalised = self._count
            self._uploads = UploadBuffers(
                (width, height),
                self._size,
                self._fit,
                frames=self._capacity,
                device=self._device,
                pins=self._copy_streams.pins,
            )
            self._copy_streams.wait_for_model()
        return self._uploads

    def _buffers_of(self, count: int) -> OutputBuffers:
        """Return the buffers for this number of outputs; a video has two or three."""
        if count not in self._downloads:
            self._downloads[count] = OutputBuffers(
                count, self._size, self._output_format, self._device
            )
        return self._downloads[count]
