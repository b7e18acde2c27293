"""Frames recorded as graphs: the same outputs as plain ones, through every live change."""

import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from streamcam.diffusion import image_model
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.schedule import Sampling
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.builder import EngineBuilder
from streamcam.engines.flat_stage import FlatForward, FlatStage
from streamcam.engines.graphed_calls import GraphedCalls
from streamcam.engines.placement import Placement
from streamcam.engines.selection import EngineChoice
from streamcam.engines.store import Store
from streamcam.frames.copy_streams import CALLS_AT_ONCE
from streamcam.frames.cuda_transfer import CudaTransfer, output_format
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from tests.diffusion.test_stream import stand_in
from tests.frames.test_transfer import config_of as transfer_config
from tests.frames.test_transfer import noise
from tests.support.fake_graphs import FakeGraphs, NotPermitted, counting_launches
from tests.support.streams import TINY, RecordingStream
from tests.support.synchronous_copies import SynchronousCopyStreams

CPU = torch.device("cpu")
DRAWN_ON_CPU = ("randn", "cat")
LIVE: dict[int, dict[str, Any]] = {
    9: {"prompt": "a red dog"},
    10: {"prompt": [("a red dog", 1.0), ("snow", 0.5)]},
    11: {"prompt": [("a red dog", 1.0), ("snow", 1.5)]},
    12: {"guidance_scale": 2.5},
    13: {"delta": 0.4},
    14: {"negative_prompt": "blurry"},
    15: {"strength": 0.8},
    17: {"seed": 5},
    18: {"seed": 6, "guidance_scale": 0.5},
}
"""Changes of live values, by the frame from which on they hold."""


CANVAS = {"canvas": "32x18"}


def config_of(**settings: Any) -> Config:
    return transfer_config(**CANVAS | settings)


class Graphed:
    """A stream with fake graphs next to one without, both as on a GPU."""

    def __init__(self, models: ImageModel, config: Config, **changes: Any) -> None:
        self.config, self.graphs, self.reports = config, FakeGraphs(), list[str]()
        changes.setdefault("graphs", lambda: GraphedCalls(self.graphs, self.reports.append))
        self.graphed = self._stream(models._replace(**changes))
        self.plain = self._stream(models)

    def _stream(self, models: ImageModel) -> DiffusionStream:
        as_on_air = output_format(self.config, on_air=True)
        transfer = CudaTransfer(self.config, CPU, SynchronousCopyStreams(), as_on_air)
        return DiffusionStream(models, self.config, transfer)

    def assert_same(
        self, images: list[np.ndarray], live: dict[int, dict[str, Any]] | None = None
    ) -> None:
        """Run both over `images`, and compare every byte of their outputs."""
        outputs = [self._run(stream, images, live or {}) for stream in (self.graphed, self.plain)]
        ours, theirs = outputs
        assert [f.index for f in ours] == [f.index for f in theirs] == list(range(len(images)))
        for a, b in zip(ours, theirs, strict=True):
            assert np.array_equal(a.image, b.image), f"frame {a.index}"
            assert np.array_equal(a.packed, b.packed)

    def _run(
        self, stream: DiffusionStream, images: list[np.ndarray], live: dict[int, dict[str, Any]]
    ) -> list[Frame]:
        parameters, out = self.config.live, []
        for index, image in enumerate(images):
            parameters = parameters.changed(live.get(index, {}))
            out += stream(Frame(image, index, index / 30), parameters)
        return out + stream.drain(parameters)


@pytest.mark.parametrize("cfg_type", ["none", "full", "self", "initialize"])
@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 1},
        {"steps": 3},
        {"steps": 2, "frame_buffer_size": 2},
        {"steps": 3, "use_denoising_batch": False},
        {"steps": 2, "mode": "txt2img"},
        {"steps": 2, "do_add_noise": False},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values()),
)
def test_graphs_give_the_bytes_of_plain_frames_and_live_values_record_nothing(
    cfg_type: str, settings: dict[str, Any]
) -> None:
    both = Graphed(stand_in(), config_of(cfg_type=cfg_type, **settings))
    both.assert_same(noise(20), LIVE)
    assert both.graphs.captures == CALLS_AT_ONCE


@pytest.mark.parametrize("cfg_type", ["none", "initialize"])
@pytest.mark.parametrize(
    "settings",
    [
        {"sampler": "euler"},
        {"sampler": "euler", "mode": "txt2img"},
        {"sampler": "tcd"},
        {"sampler": "tcd", "use_denoising_batch": False},
        {"sampler": "ddim", "predicts_velocity": True},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values()),
)
def test_graphs_give_the_bytes_of_plain_frames_with_every_sampler(
    cfg_type: str, settings: dict[str, Any]
) -> None:
    sampling = Sampling(
        "trailing", None, settings["sampler"], settings.get("predicts_velocity", False)
    )
    rest = {name: value for name, value in settings.items() if name != "predicts_velocity"}
    both = Graphed(stand_in(sampling=sampling), config_of(cfg_type=cfg_type, steps=3, **rest))
    both.assert_same(noise(20), LIVE | {16: {"eta": 0.8}})
    assert both.graphs.captures == CALLS_AT_ONCE
    frames_per_call = both.config.frame_buffer_size
    assert both.graphs.launches >= 20 // frames_per_call - both.config.num_steps - 4
    assert len(both.reports) == 1
    assert "frames run as one CUDA graph, recorded in" in both.reports[0]


def test_a_schedule_of_other_steps_is_taken_over_in_place() -> None:
    both = Graphed(stand_in(), config_of(t_index_list=[10, 20, 30], cfg_type="self"))
    both.assert_same(noise(16), {9: {"t_index_list": [5, 25, 45]}, 12: {"strength": None}})
    assert both.graphs.captures == CALLS_AT_ONCE


def test_skipped_frames_resets_and_drains_leave_the_graphs_in_use() -> None:
    config = config_of(steps=2, enable_similar_image_filter=True, similar_image_filter_threshold=0)
    both = Graphed(stand_in(), config)
    moving, [still] = noise(24), noise(1, 20, 20)
    images = [still if 10 <= index < 14 else image for index, image in enumerate(moving)]
    live = {8: {"reset": 1}, 17: {"reset": 2, "seed": 9}}
    both.assert_same(moving, live)
    recorded = both.graphs.captures
    launches = both.graphs.launches
    both.assert_same(moving, live)
    assert both.graphs.captures == recorded
    assert both.graphs.launches > launches
    both.assert_same(images)
    assert both.graphed.counts["skipped"] == both.plain.counts["skipped"] > 0
    assert both.reports[0].startswith("frames run as one CUDA graph")


def test_an_incomplete_call_at_the_end_runs_plainly() -> None:
    both = Graphed(stand_in(), config_of(steps=1, frame_buffer_size=3))
    for _ in range(2):
        both.assert_same(noise(20))
        assert both.graphs.captures == CALLS_AT_ONCE


def test_frames_of_another_size_are_recorded_again_also_in_the_middle_of_a_call() -> None:
    both = Graphed(stand_in(), config_of(steps=1, frame_buffer_size=2))
    small, large = noise(13, 20, 40), noise(11, 45, 80)
    both.assert_same([*small, *large, *small[:3]])
    assert both.graphs.captures >= 2 * CALLS_AT_ONCE
    assert not any("without" in line for line in both.reports)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_warm_up_records_the_calls_of_the_frames_to_come(steps: int) -> None:
    both = Graphed(stand_in(), config_of(steps=steps, warmup=1))
    both.graphed.warm_up()
    assert both.graphs.captures == CALLS_AT_ONCE
    height, width = both.config.broadcast.canvas[::-1]
    both.assert_same(noise(8, height, width))
    both.assert_same(noise(7, height, width))
    assert both.graphs.captures == CALLS_AT_ONCE
    assert both.graphs.launches > 8


def test_a_new_engine_is_recorded_in_its_turn() -> None:
    strength = [0.5]

    def denoise(x_t: torch.Tensor, timesteps: torch.Tensor, condition: Any) -> torch.Tensor:
        predicted: torch.Tensor = stand_in().denoise(x_t, timesteps, condition)
        return predicted * strength[0]

    both = Graphed(
        stand_in(denoise=denoise), config_of(steps=1), revision=lambda: int(strength[0] * 10)
    )
    both.assert_same(noise(8))
    strength[0] = 0.7
    both.assert_same(noise(8))
    assert both.graphs.captures == 2 * CALLS_AT_ONCE


class Decoding(nn.Module):
    """A stage that an engine can be built for."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        image: torch.Tensor = stand_in().decode(latents) * self.scale
        return image


class OwnEngine:
    """An engine that is the stage again, and records when it is called."""

    name = "own"
    dtype = weights_dtype = torch.float32

    def __init__(self, graphs: FakeGraphs) -> None:
        self._graphs = graphs
        self.recorded = 0

    def supports(self, flat: FlatStage) -> bool:  # noqa: ARG002
        return True

    def fingerprint(self) -> dict[str, str]:
        return {}

    def build(self, flat: FlatStage, inputs: Any, folder: Path) -> None:  # noqa: ARG002
        (folder / "own").touch()

    def load(self, folder: Path) -> FlatForward:  # noqa: ARG002
        def run(latents: torch.Tensor) -> torch.Tensor:
            self.recorded += self._graphs.capturing
            image: torch.Tensor = Decoding()(latents)
            return image

        return run


def test_an_engine_that_is_ready_on_air_runs_in_the_graph_from_then_on(tmp_path: Path) -> None:
    both = Graphed(stand_in(), config_of(steps=1))
    store, may_build, has_changed = Store(tmp_path), threading.Event(), threading.Event()
    engine = OwnEngine(both.graphs)

    def process() -> Iterator[str]:
        assert may_build.wait(20)
        ahead = EngineBuilder([engine], store, lambda _: None, builder=None, waits=True)
        ahead(Decoding())(torch.zeros(1, 4, 2, 2))
        yield "built"

    def report(line: str) -> None:
        if "runs" in line:
            has_changed.set()

    builder = EngineBuilder([engine], store, report, builder=process, waits=False)
    both.graphed = both._stream(
        stand_in(decode=builder(Decoding()))._replace(
            revision=lambda: builder.revision,
            graphs=lambda: GraphedCalls(both.graphs, both.reports.append),
        )
    )
    both.assert_same(noise(6))
    assert (both.graphs.captures, engine.recorded) == (CALLS_AT_ONCE, 0)
    may_build.set()
    assert has_changed.wait(20)
    both.assert_same(noise(6))
    assert (both.graphs.captures, engine.recorded) == (2 * CALLS_AT_ONCE, CALLS_AT_ONCE)


@pytest.mark.parametrize(
    ("settings", "noisy", "copies"),
    [({}, False, 2), ({}, True, 3), ({"mode": "txt2img"}, False, 2)],
    ids=["img2img", "full autoencoder", "txt2img"],
)
def test_a_frame_launches_a_graph_and_its_copies_and_no_more(
    settings: dict[str, Any], noisy: bool, copies: int
) -> None:
    both = Graphed(stand_in(encode_uses_noise=noisy), config_of(steps=2, **settings))
    images = noise(12, 90, 160)
    both.assert_same(images)
    stream, live = both.graphed, both.config.live
    for index in range(8):
        stream(Frame(images[index], index, 0.0), live)
    launches = both.graphs.launches
    with counting_launches(both.graphs) as seen:
        for index in range(8, 12):
            stream(Frame(images[index], index, 0.0), live)
    assert both.graphs.launches == launches + 4
    # Fresh noise is drawn on the CPU.
    assert [name for name in seen.names if name not in DRAWN_ON_CPU] == ["copy_"] * 4 * copies


class Breaking:
    """A stage that raises in the middle of a capture, as CUDA does at what it does not permit."""

    def __init__(self, graphs: FakeGraphs) -> None:
        self._graphs = graphs
        self.calls = 0

    def __call__(self, latents: torch.Tensor) -> torch.Tensor:
        self.calls += self._graphs.capturing
        if self._graphs.capturing:
            raise NotPermitted("operation not permitted when stream is capturing")
        image: torch.Tensor = stand_in().decode(latents)
        return image


def test_a_frame_that_cannot_be_recorded_goes_on_as_it_is_and_says_so_once() -> None:
    both = Graphed(stand_in(), config_of(steps=2))
    decode = Breaking(both.graphs)
    both.graphed = both._stream(
        stand_in(decode=decode)._replace(
            graphs=lambda: GraphedCalls(both.graphs, both.reports.append)
        )
    )
    both.assert_same(noise(12), LIVE)
    assert decode.calls == 1
    assert both.reports == [
        "frames run without a CUDA graph: operation not permitted when stream is capturing"
    ]


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x * float(x.sum()),
        lambda x: x + torch.randn(x.shape),
        lambda x: x[x > 0].mean() + x,
        lambda x: x * torch.tensor([2.0]),
    ],
    ids=["waits", "draws", "masks", "copies"],
)
def test_what_cuda_does_not_permit_in_a_capture_is_refused_by_the_fake(work: Any) -> None:
    x = torch.ones(4)
    with pytest.raises(NotPermitted), torch.inference_mode():
        FakeGraphs()(lambda: x.copy_(work(x)))
    assert torch.equal(x, torch.ones(4))


@cache
def model_of(**settings: Any) -> tuple[ImageModel, Config]:
    made = RecordingStream(**CANVAS | settings)
    return made.models, made.config


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "nano", "offline": True, "steps": 1},
        {"t_index_list": (20, 40), "cfg_type": "full"},
        {"vae": "full", "steps": 1, "cross_frame_attention": True},
        {"model": "random:tiny-sdxl-turbo", "t_index_list": (20, 30), "cfg_type": "initialize"},
    ],
    ids=["nano", "sd", "full-vae", "sdxl"],
)
def test_real_models_are_recorded_whole(settings: dict[str, Any]) -> None:
    models, config = model_of(**settings)
    both = Graphed(models, config)
    live = {7: {"prompt": "a red dog"}, 8: {"guidance_scale": 1.7, "strength": 0.6}}
    both.assert_same(noise(10, 64, 64), live)
    assert both.graphs.captures == CALLS_AT_ONCE
    assert not any("without" in line for line in both.reports)


@pytest.mark.parametrize("chosen", [True, False])
def test_a_model_is_loaded_with_graphs_where_those_are_chosen(
    chosen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = EngineChoice((), "graph, as asked", graphs=chosen)
    monkeypatch.setattr(image_model, "place", lambda _: Placement(CPU, torch.float32, choice))
    monkeypatch.setattr(image_model, "CudaCapture", lambda _: FakeGraphs())
    config, reports = transfer_config(**CANVAS | TINY | {"steps": 1}), list[str]()
    models = image_model.load_image_model(config, reports.append)
    first, second = models.graphs(), models.graphs()
    assert first.captures is second.captures is chosen
    assert first is not second
    both = Graphed(models, config, graphs=models.graphs)
    both.assert_same(noise(6, 64, 64))
    assert ("frames run as one CUDA graph" in "".join(reports)) is chosen


@pytest.mark.parametrize("memory", ["off", "features"])
def test_graphs_steady_outputs_as_plain_frames_do(memory: str) -> None:
    settings = {"t_index_list": "10,30", "temporal_memory": memory, "temporal_threshold": 0.5}
    config = build_config([TINY, CANVAS, settings, {"output_blend": 0.5}])
    both = Graphed(load_image_model(config, lambda _: None), config)
    scene = noise(1)[0]
    images = [np.roll(scene, i, axis=1) for i in range(16)]
    live = {10: {"temporal_strength": 0.3}, 11: {"noise_follow": True}, 13: {"output_blend": 0.9}}
    both.assert_same(images, live)
    assert both.graphs.captures == CALLS_AT_ONCE
    assert both.graphs.launches > 0
