"""Run frames through a real video stream over a tiny model, and record the transformer's calls."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from streamcam.frames.cuda_transfer import CudaTransfer, output_format
from streamcam.settings.config_layers import build_config
from streamcam.settings.parameters import Parameters
from streamcam.types import Frame
from streamcam.video.video_model import VideoModel, load_video_model
from streamcam.video.video_stream import VideoStream
from tests.support.synchronous_copies import SynchronousCopyStreams

TINY = {
    "pipeline": "video",
    "model": "random:tiny-wan",
    "width": 64,
    "height": 32,
    "device": "cpu",
    "dtype": "float32",
    "prompt": "a cat",
}

SELF_FORCING: dict[str, Any] = {
    "denoising_steps": "1000,750,500,250",
    "steps": 4,
    "warp_timesteps": True,
    "flow_shift": 5,
    "noise_control": "schedule",
    "use_denoising_batch": False,
    "longer_first_chunk": False,
    "clean_context": True,
    "kv_frames": 7,
    "kv_sinks": 0,
}
"""The steps, the first chunk and the context of Self-Forcing and its successors."""


@cache
def loaded(encoder: str, decoder: str) -> VideoModel:
    """Return the tiny model with these autoencoders; shared by all streams of the tests."""
    settings = {"video_encoder": encoder, "video_decoder": decoder}
    return load_video_model(build_config([TINY, settings]), report=lambda _: None)


class RecordingStream:
    """A video stream; `rows` holds the number of rows of each call of the transformer.

    `on_gpu` frames are transferred as for a GPU.
    """

    def __init__(self, *, on_gpu: bool = False, **settings: Any) -> None:
        self.config = build_config([TINY, settings])
        video = self.config.video
        models = loaded(video.video_encoder, video.video_decoder)
        self.rows: list[int] = []
        models.layers.model.register_forward_hook(
            lambda _, given, __: self.rows.append(len(given[0]))
        )
        transfer = None
        if on_gpu:
            layout = output_format(self.config, on_air=False)
            transfer = CudaTransfer(self.config, models.device, SynchronousCopyStreams(), layout)
        self.stream = VideoStream(models, self.config, transfer)

    def __call__(
        self, frames: list[Frame], changes: dict[int, dict[str, Any]] | None = None
    ) -> list[list[Frame]]:
        """Return the output frames of each call, and at the end those of `drain`."""
        parameters: Parameters = self.config.live
        out = []
        for i, frame in enumerate(frames):
            parameters = parameters.changed((changes or {}).get(i, {}))
            out.append(list(self.stream(frame, parameters)))
        return [*out, list(self.stream.drain(parameters))]


def flat(out: list[list[Frame]]) -> list[Frame]:
    """Return the output frames in one list."""
    return [frame for frames in out for frame in frames]


def latent(frames: int, *, seed: int) -> Tensor:
    """Return noise ``(frames, 16, 8, 12)``."""
    return torch.randn(frames, 16, 8, 12, generator=torch.Generator().manual_seed(seed))
