"""Chunks recorded as graphs: the same outputs as plain ones, through every live change."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from streamcam.engines.graphed_calls import GraphedCalls
from streamcam.frames.cuda_transfer import CudaTransfer, output_format
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from streamcam.video import video_model
from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Layers, MakeGraphs
from streamcam.video.flow_matching import FlowSchedule, Steps
from streamcam.video.random_wan import random_transformer
from streamcam.video.rollout import Rollout
from streamcam.video.video_model import VideoModel, load_video_model
from streamcam.video.video_stream import VideoStream
from streamcam.video.wan import CausalWan
from tests.support.fake_graphs import FakeGraphs, counting_launches
from tests.support.streams import moving
from tests.support.synchronous_copies import SynchronousCopyStreams
from tests.video.video_streams import TINY

CPU = torch.device("cpu")
SHORT_CACHE = {"kv_frames": 3, "kv_sinks": 1, "canvas": "64x36"}
LIVE: dict[int, dict[str, Any]] = {
    25: {"prompt": "a red dog"},
    33: {"strength": 0.5},
    37: {"seed": 5},
}
"""Changes of live values, by the frame from which on they hold."""
PUBLISHED = {"video_encoder": "wan", "video_decoder": "wan"}
TINY_ONES = {"video_encoder": "taehv", "video_decoder": "taehv"}


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[VideoModel, FakeGraphs]]:
    """Load a model as on a GPU, with fake graphs."""

    def load(config: Config) -> tuple[VideoModel, FakeGraphs]:
        graphs = FakeGraphs()
        monkeypatch.setattr(video_model, "kind_of", lambda _device: "cuda")
        monkeypatch.setattr(video_model, "CudaCapture", lambda _device: graphs)
        return load_video_model(config, lambda _: None), graphs

    return load


@cache
def plain_model(encoder: str, decoder: str) -> VideoModel:
    settings = {"video_encoder": encoder, "video_decoder": decoder, "acceleration": "eager"}
    return load_video_model(build_config([TINY, settings]), lambda _: None)


def stream_of(models: VideoModel, config: Config) -> VideoStream:
    as_on_air = output_format(config, on_air=True)
    return VideoStream(
        models, config, CudaTransfer(config, CPU, SynchronousCopyStreams(), as_on_air)
    )


def outputs_of(stream: VideoStream, config: Config, count: int) -> list[Frame]:
    parameters, out = config.live, []
    for index, frame in enumerate(moving(count, size=32)):
        parameters = parameters.changed(LIVE.get(index, {}))
        out += stream(frame, parameters)
    return out + stream.drain(parameters)


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 1, **TINY_ONES},
        {"steps": 2, **TINY_ONES, "sink_threshold": 1.0},
        {"steps": 2, **TINY_ONES, "use_denoising_batch": False},
        {"steps": 2, **TINY_ONES, "kv_realign": True, "kv_position_limit": 5},
        {"steps": 1, **TINY_ONES, "chunk_latents": 2},
        {"steps": 1, **PUBLISHED, "noise_control": "latent"},
    ],
)
def test_recorded_chunks_give_the_same_outputs_as_plain_ones(
    on_gpu: Callable[..., tuple[VideoModel, FakeGraphs]], settings: dict[str, Any]
) -> None:
    config = build_config([TINY, SHORT_CACHE, settings])
    models, graphs = on_gpu(config)
    video = config.video
    plain = plain_model(video.video_encoder, video.video_decoder)
    ours, theirs = stream_of(models, config), stream_of(plain, config)
    for _ in range(2):  # The second time after a reset, with what was recorded before.
        recorded, expected = (outputs_of(stream, config, 41) for stream in (ours, theirs))
        assert [f.index for f in recorded] == [f.index for f in expected] == list(range(41))
        for a, b in zip(recorded, expected, strict=True):
            assert np.array_equal(a.image, b.image), f"frame {a.index}"
            assert np.array_equal(a.packed, b.packed)
        captures = graphs.captures
    assert graphs.launches > 10
    assert graphs.captures == captures


@torch.inference_mode()
def test_recorded_passes_for_a_clean_context_give_the_same_latents_as_plain_ones() -> None:
    model = CausalWan(random_transformer("tiny-wan", torch.float32, CPU), (2, 2))
    flow = FlowSchedule.shifted(5)
    steps = Steps(tuple(flow.warp_timesteps([1000, 500])), flow, clean_pass=True)
    graphs = FakeGraphs()

    def drawn(like: Tensor, seed: int) -> Tensor:
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))

    def outputs(make_graphs: MakeGraphs | None) -> list[Tensor]:
        layers, embeds = Layers(model, make_graphs), torch.ones(1, 4, 32)
        shape = CacheShape(4, 2, position_limit=6, realign=True)
        run = Rollout(layers, embeds, shape, steps, drawn, batched=False, sink_threshold=1.0)
        x_t = torch.zeros(1, 16, 2, 2)
        return [run.denoise_sequentially(drawn(x_t, seed), 1000) for seed in range(12)]

    recorded = outputs(lambda name: GraphedCalls(graphs, print, name))
    for ours, theirs in zip(recorded, outputs(None), strict=True):
        assert torch.equal(ours, theirs)
    assert graphs.launches > 10


def test_few_launches_of_a_chunk_are_outside_graphs(
    on_gpu: Callable[..., tuple[VideoModel, FakeGraphs]],
) -> None:
    config = build_config([TINY, SHORT_CACHE, TINY_ONES, {"steps": 1}])
    models, graphs = on_gpu(config)
    stream = stream_of(models, config)
    frames = moving(33, size=32)
    for frame in frames[:29]:
        stream(frame, config.live)
    with counting_launches(graphs) as seen:
        for frame in frames[29:]:
            stream(frame, config.live)
    # About 22 of them go to the device; the rest compute the numbers of the call on the CPU.
    assert len(seen.names) <= 50, seen.names


class CountingTransfer(CudaTransfer):
    """Keeps the shapes of the tensors that are sent without waiting for the device."""

    sent: list[torch.Size]

    def copy_to_device(self, target: Tensor, source: Tensor) -> None:
        self.sent.append(source.shape)
        super().copy_to_device(target, source)


def test_noise_is_sent_without_waiting_for_the_device() -> None:
    config = build_config([TINY, TINY_ONES, {"steps": 2}])
    layout = output_format(config, on_air=False)
    transfer = CountingTransfer(config, CPU, SynchronousCopyStreams(), layout)
    transfer.sent = []
    stream = VideoStream(plain_model("taehv", "taehv"), config, transfer)
    for frame in moving(13, size=32):
        stream(frame, config.live)
    # Each chunk has noise for its first step, and again for its second.
    assert len(transfer.sent) >= 3 + 2
    assert all(shape[1] == 16 for shape in transfer.sent)
