"""ControlNets against diffusers' own pipelines, on tiny models of the real layouts."""

import copy
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from streamcam.diffusion.control_stages import drawing_stage
from streamcam.diffusion.depth_map import DepthMap
from streamcam.diffusion.image_model import from_pipeline
from streamcam.diffusion.live_control import step_scales
from streamcam.diffusion.stream import DiffusionStream
from streamcam.models.autoencoder import autoencoder
from streamcam.models.controlnet import Controls, load_controls
from streamcam.models.depth import load_depth_model
from streamcam.models.drawing_models import load_drawing_models
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from tests.diffusion.test_graphed_frames import Graphed
from tests.support.drawing_models import (
    save_depth_model,
    save_pose_model,
    save_segmentation_model,
)
from tests.support.fake_graphs import FakeGraphs
from tests.support.streams import EAGER, RecordingStream, images, moving

CPU = torch.device("cpu")
STEPS = {"num_inference_steps": 4, "t_index_list": (2, 3)}
"""As a strength of a half gives for 4 steps."""
BASE = {"width": 64, "height": 64, "prompt": "a cat", "use_lcm_lora": False}
SHOWN = {"a": "image", "b": "edges", "adapter": "image", "union": "edges"}
FRAME = moving(1)[0]


def config_of(architecture: str, controlnet: dict[str, float], **settings: Any) -> Config:
    return build_config([given_of(architecture, controlnet), settings])


def given_of(architecture: str, controlnet: dict[str, float]) -> dict[str, Any]:
    given = {
        "model": f"random:tiny-{architecture}",
        "controlnet": {f"random:{name}": scale for name, scale in controlnet.items()},
        "control": {name: SHOWN[name] for name in controlnet},
    }
    return BASE | EAGER | given


@cache
def loaded(architecture: str, names: tuple[str, ...]) -> tuple[Any, Controls]:
    """Return a pipeline of diffusers, with a tiny autoencoder, and ControlNets for it."""
    config = config_of(architecture, dict.fromkeys(names, 1.0))
    pipe = random_pipeline(f"tiny-{architecture}")
    if "adapter" in names and architecture == "sdxl":
        pipe.register_modules(unet=real_sdxl(pipe.unet))
    pipe.register_modules(
        vae=autoencoder(pipe, config, torch.float32),
        scheduler=diffusers.LCMScheduler.from_config(pipe.scheduler.config),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe, load_controls(config, pipe.unet, torch.float32, lambda _: None)


def real_sdxl(unet: Any) -> Any:
    """Return a U-Net as `unet`, with the levels of SDXL: no attention in the first of three."""
    torch.manual_seed(0)
    levels: dict[str, Any] = {
        "block_out_channels": (16, 32, 32),
        "attention_head_dim": (2, 2, 2),
        "down_block_types": ("DownBlock2D", *["CrossAttnDownBlock2D"] * 2),
        "up_block_types": (*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"),
    }
    return diffusers.UNet2DConditionModel.from_config(dict(unet.config) | levels)


def stream_of(architecture: str, controlnet: dict[str, float], **settings: Any) -> RecordingStream:
    config = config_of(architecture, controlnet, **settings)
    pipe, controls = copy.deepcopy(loaded(architecture, tuple(controlnet)))
    model = from_pipeline(pipe, config, CPU, lambda _: None, controls=controls)
    return RecordingStream(model, **given_of(architecture, controlnet) | settings)


def edges_of(image: np.ndarray) -> np.ndarray:
    return np.stack([cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 100, 200)] * 3, -1)


@pytest.mark.parametrize("cfg_type", ["none", "full"])
@pytest.mark.parametrize("architecture", ["sd-1.5", "sd-2.1", "sdxl"])
def test_controlnets_give_what_the_pipelines_of_diffusers_give(
    architecture: str, cfg_type: str
) -> None:
    stream = stream_of(
        architecture,
        {"a": 0.8, "b": 0.4},
        controlnet_end={"random_b": 0.5},
        cfg_type=cfg_type,
        guidance_scale=2.0,
        use_denoising_batch=False,
        **STEPS,
    )
    stream([FRAME])
    pipe, ((a, b), _) = loaded(architecture, ("a", "b"))
    kind = "StableDiffusionXL" if architecture == "sdxl" else "StableDiffusion"
    reference = getattr(diffusers, f"{kind}ControlNetImg2ImgPipeline")(
        **pipe.components | ({} if architecture == "sdxl" else {"requires_safety_checker": False}),
        controlnet=[a.module, b.module],
    )
    reference.set_progress_bar_config(disable=True)
    expected = reference(
        prompt="a cat",
        negative_prompt="",
        image=Image.fromarray(FRAME.image),
        control_image=[Image.fromarray(i) for i in (FRAME.image, edges_of(FRAME.image))],
        width=64,
        height=64,
        strength=0.5,
        num_inference_steps=4,
        guidance_scale=1.0 if cfg_type == "none" else 2.0,
        controlnet_conditioning_scale=[0.8, 0.4],
        control_guidance_end=[1.0, 0.5],
        generator=torch.Generator().manual_seed(2),
        output_type="latent",
    ).images
    assert (stream.latents[0] - expected[0]).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("cfg_type", ["none", "full"])
def test_a_union_gives_what_the_pipeline_of_diffusers_gives(cfg_type: str) -> None:
    stream = stream_of(
        "sdxl",
        {"union": 0.8},
        cfg_type=cfg_type,
        guidance_scale=2.0,
        use_denoising_batch=False,
        **STEPS,
    )
    stream([FRAME])
    pipe, ((union,), _) = loaded("sdxl", ("union",))
    reference = diffusers.StableDiffusionXLControlNetUnionImg2ImgPipeline(
        **pipe.components, controlnet=union.module
    )
    reference.set_progress_bar_config(disable=True)
    expected = reference(
        prompt="a cat",
        negative_prompt="",
        image=Image.fromarray(FRAME.image),
        control_image=[Image.fromarray(edges_of(FRAME.image))],
        control_mode=[3],  # Canny and other thin lines.
        width=64,
        height=64,
        strength=0.5,
        num_inference_steps=4,
        guidance_scale=1.0 if cfg_type == "none" else 2.0,
        controlnet_conditioning_scale=0.8,
        generator=torch.Generator().manual_seed(2),
        output_type="latent",
    ).images
    assert (stream.latents[0] - expected[0]).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("architecture", ["sd-1.5", "sdxl"])
def test_a_t2i_adapter_gives_what_the_pipeline_of_diffusers_gives(architecture: str) -> None:
    stream = stream_of(
        architecture, {"adapter": 0.7}, cfg_type="none", mode="txt2img", t_index_list=(0,)
    )
    stream([FRAME])
    pipe, ((adapter,), _) = loaded(architecture, ("adapter",))
    kind = "full_adapter_xl" if architecture == "sdxl" else "full_adapter"
    assert adapter.module.config.adapter_type == kind
    parts = {name: part for name, part in pipe.components.items() if name != "image_encoder"}
    if architecture == "sdxl":
        parts.pop("feature_extractor", None)
        reference = diffusers.StableDiffusionXLAdapterPipeline(**parts, adapter=adapter.module)
    else:
        reference = diffusers.StableDiffusionAdapterPipeline(
            **parts, requires_safety_checker=False, adapter=adapter.module
        )
    reference.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(2)
    noise = [torch.randn((1, 4, 8, 8), generator=generator) for _ in range(2)][1]
    expected = reference(
        prompt="a cat",
        image=Image.fromarray(FRAME.image),
        width=64,
        height=64,
        latents=noise,
        num_inference_steps=1,
        guidance_scale=1.0,
        adapter_conditioning_scale=0.7,
        output_type="latent",
    ).images
    assert (stream.latents[0] - expected[0]).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("cfg_type", ["self", "initialize", "full"])
def test_images_travel_with_their_frames_through_the_stream_batch(cfg_type: str) -> None:
    settings = {"cfg_type": cfg_type, "controlnet_start": {"random_b": 0.5}, **STEPS}
    controlnet = {"a": 1.0, "b": 0.5, "adapter": 0.5}
    frames = moving(5)
    batched = images(stream_of("sd-1.5", controlnet, **settings)(frames)).astype(int)
    for others in ({"frame_buffer_size": 2}, {"use_denoising_batch": False}):
        other = images(stream_of("sd-1.5", controlnet, **settings | others)(frames))
        assert np.abs(batched - other).max() <= 1


def test_a_scale_of_zero_runs_no_controlnet_and_is_as_without_it() -> None:
    frames = moving(4)
    off = stream_of("sd-1.5", {"a": 1.0, "adapter": 0.5})
    calls: Counter[str] = Counter()
    for control in off.models.controls:
        stage: Any = control.predict
        stage.register_forward_hook(lambda *_: calls.update(["control"]))
    outputs = off(frames, {0: {"controlnet_scale": {"random_a": 0, "random_adapter": 0}}})
    assert not calls
    plain = images(stream_of("sd-1.5", {})(frames))
    assert np.array_equal(images(outputs), plain)
    on = images(off(frames, {2: {"controlnet_scale": {"random_a": 1}}}))
    assert calls
    assert not np.array_equal(on, plain)


def test_a_controlnet_is_off_outside_its_share_of_the_steps() -> None:
    assert step_scales(4, 0.7, 0.0, 1.0) == [0.7] * 4
    assert step_scales(4, 0.7, 0.25, 0.75) == [0, 0.7, 0.7, 0]
    assert step_scales(1, 0.7, 0.0, 0.5) == [0]


class Distance(torch.nn.Module):
    """Stands for a depth model: the last pixel has the largest value."""

    dtype = torch.float32

    def forward(self, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(predicted_depth=torch.arange(64.0).reshape(1, 8, 8))


def test_near_is_white_in_the_depth_that_a_controlnet_is_shown(tmp_path: Path) -> None:
    save_depth_model(tmp_path)
    config = config_of("sd-1.5", {"a": 1.0}, control={"a": "depth"}, depth_model=str(tmp_path))
    depth = load_depth_model(config, torch.float32)
    drawn = DepthMap(depth, 64, 64)
    shown = drawn(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert shown.shape == (2, 3, 64, 64)
    assert shown.amin() == 0 < shown.amax() <= 1
    drawn.model = Distance()
    assert drawn(torch.zeros(1, 3, 8, 8))[0, 0, -1, -1] == 1
    drawn.is_distance = True
    assert drawn(torch.zeros(1, 3, 8, 8))[0, 0, -1, -1] == 0


SAVED: dict[str, Callable[[Path], Path]] = {
    "depth": save_depth_model,
    "pose": save_pose_model,
    "segmentation": save_segmentation_model,
}


@pytest.mark.parametrize("kind", SAVED)
def test_a_model_draws_what_a_controlnet_is_shown_of_the_camera_or_a_second_source(
    kind: str, tmp_path: Path
) -> None:
    shown, folder = [], SAVED[kind](tmp_path)
    for given in (kind, f"{kind}:clip.mp4"):
        settings = {"control": {"a": given}, f"{kind}_model": str(folder)}
        config = config_of("sd-1.5", {"a": 1.0}, **settings)
        pipe, controls = copy.deepcopy(loaded("sd-1.5", ("a",)))
        controls = controls._replace(drawn_by=load_drawing_models(config, torch.float32))
        model = from_pipeline(pipe, config, CPU, lambda _: None, controls=controls)
        stream = DiffusionStream(model, config, open_second=lambda *_: Still())
        stream(FRAME, config.live)
        shown.append(stream.control_image())
    drawn = drawing_stage(controls.drawn_by[kind], 64, 64)
    image = torch.from_numpy(FRAME.image).permute(2, 0, 1)[None] / 127.5 - 1
    levels = (drawn(image)[0].permute(1, 2, 0) * 255).round().byte().numpy()
    for image_ in shown:
        assert image_ is not None
        assert (image_ == levels).mean() > 0.99


@pytest.mark.parametrize("kind", SAVED)
@torch.inference_mode()
def test_a_model_that_draws_can_be_recorded_as_a_part_of_a_graph(kind: str, tmp_path: Path) -> None:
    folder = SAVED[kind](tmp_path)
    config = config_of("sd-1.5", {"a": 1.0}, control={"a": kind}, **{f"{kind}_model": str(folder)})
    draw = drawing_stage(load_drawing_models(config, torch.float32)[kind], 64, 64)
    images, shown = torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)
    replay = FakeGraphs()(lambda: shown.copy_(draw(images)))
    images.copy_(torch.from_numpy(FRAME.image).permute(2, 0, 1) / 127.5 - 1)
    replay()
    assert torch.equal(shown, draw(images))


class Still:
    """A second source that shows the frame of the camera."""

    problem = ""

    def next_image(self) -> np.ndarray:
        return FRAME.image


def test_the_preview_shows_what_each_controlnet_is_shown() -> None:
    stream = stream_of("sd-1.5", {"a": 1.0, "b": 1.0, "adapter": 1.0})
    stream.stream(FRAME, stream.config.live)
    shown = stream.stream.control_image()
    expected = np.concatenate([FRAME.image, edges_of(FRAME.image), FRAME.image], axis=1)
    assert np.abs(shown.astype(int) - expected).max() <= 1


class Numbered:
    """A second source that shows one grey more at each call, from the second on."""

    problem = "it waits"

    def __init__(self, spec: str, _: Any) -> None:
        self.spec, self.calls = spec, 0

    def next_image(self) -> np.ndarray | None:
        self.calls += 1
        return np.full((64, 64, 3), self.calls, np.uint8) if self.calls > 1 else None


def test_a_second_source_is_shown_instead_of_the_camera() -> None:
    config = config_of("sd-1.5", {"a": 1.0}, control={"a": "dancer.mp4"}, mode="txt2img", warmup=1)
    pipe, controls = copy.deepcopy(loaded("sd-1.5", ("a",)))
    model = from_pipeline(pipe, config, CPU, lambda _: None, controls=controls)
    opened: list[Numbered] = []

    def open_second(spec: str, settings: Any) -> Numbered:
        opened.append(Numbered(spec, settings))
        return opened[-1]

    stream = DiffusionStream(model, config, open_second=open_second)
    stream.warm_up()
    assert not opened
    levels = []
    for frame in moving(3):
        stream(frame, config.live)
        image = stream.control_image()
        assert image is not None
        levels.append(int(image.max()))
    assert levels == [0, 2, 3]
    assert [source.spec for source in opened] == ["dancer.mp4"]
    assert stream.notice == "it waits"


def test_calls_recorded_as_graphs_give_the_bytes_of_plain_calls_at_every_scale() -> None:
    given = given_of("sd-1.5", {"a": 1.0, "b": 0.5, "adapter": 0.5})
    config = build_config([given, {"canvas": "64x64", "cfg_type": "self"}])
    pipe, controls = copy.deepcopy(loaded("sd-1.5", ("a", "b", "adapter")))
    model = from_pipeline(pipe, config, CPU, lambda _: None, controls=controls)
    both = Graphed(model, config)
    images_ = [frame.image for frame in moving(22)]
    live = {
        9: {"controlnet_scale": {"random_a": 0.3}},
        11: {"controlnet_scale": {"random_a": 0}},
        14: {"controlnet_scale": {"random_a": 0.7}, "controlnet_end": {"random_b": 0.5}},
        17: {"controlnet_scale": {"random_a": 0, "random_b": 0, "random_adapter": 0}},
    }
    both.assert_same(images_, live)
    assert both.graphs.launches > 8, both.reports
