"""Encode chunks of uploaded frames, and decode them to the bytes that are downloaded."""

from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.engines.graphed_calls import GraphedCalls
from streamcam.frames.transfer import (
    DownloadedImage,
    FrameTransfer,
    OutputBuffer,
    UploadedFrames,
    WaitForDownload,
)
from streamcam.video.video_model import VideoModel
from streamcam.video.wan_vae import TEMPORAL


class _RecordedCalls(NamedTuple):
    """Calls of one length that are replayed as graphs, and the latents that they work on."""

    graphs: GraphedCalls
    latents: Tensor


class ChunkStages:
    """Encoder and decoder of a video, with what the device does before the one and after the other.

    Calls that only differ in their values, as all do after the first chunks, are replayed as CUDA
    graphs where the model records them.

    Args:
        models: the stages.
        transfer: takes frames to the models' device and outputs back.
    """

    def __init__(self, models: VideoModel, transfer: FrameTransfer) -> None:
        self._models = models
        self._transfer = transfer
        self._encodings: dict[int, _RecordedCalls] = {}
        self._decodings: dict[int, _RecordedCalls] = {}

    def encode(self, count: int) -> Tensor:
        """Encode the `count` frames that were uploaded to latents ``(f, C, h, w)`` float32."""
        with self._models.layers.timer("encode"):
            uploaded = self._transfer.uploaded(count)
            if count in self._encodings and uploaded.memory and self._models.encode.steady:
                return self._encode_recorded(count, uploaded)
            latents = self._models.encode(uploaded.batch())
            if self._models.graphs and count not in self._encodings:
                graphs = self._models.graphs("encoder calls")
                self._encodings[count] = _RecordedCalls(graphs, torch.empty_like(latents))
            return latents

    def decode(self, x_0: Tensor) -> tuple[list[DownloadedImage], WaitForDownload]:
        """Decode a denoised chunk ``(f, C, h, w)``, and start to download its images."""
        with self._models.layers.timer("decode"):
            if self._models.graphs and self._models.decode.steady:
                output = self._transfer.output_buffer(TEMPORAL * len(x_0))
                self._decode_recorded(x_0, output)
                return output.download()
            return self._transfer.download(self._models.decode(x_0))

    def _encode_recorded(self, count: int, uploaded: UploadedFrames) -> Tensor:
        graphs, latents = self._encodings[count]

        def work() -> None:
            latents.copy_(self._models.encode(uploaded.batch()))

        graphs(uploaded.slot, uploaded.memory, work)
        # The next chunk of this length overwrites them.
        return latents.clone()

    def _decode_recorded(self, x_0: Tensor, output: OutputBuffer) -> None:
        assert self._models.graphs
        if len(x_0) not in self._decodings:
            graphs = self._models.graphs("decoder calls")
            self._decodings[len(x_0)] = _RecordedCalls(graphs, torch.empty_like(x_0))
        graphs, latents = self._decodings[len(x_0)]
        latents.copy_(x_0)

        def work() -> None:
            output.write(self._models.decode(latents))

        graphs(output.slot, None, work)
