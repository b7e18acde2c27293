"""LoRAs with live scales, against the same LoRAs fused into the weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from streamcam.diffusion.attention import fuse_self_attention
from streamcam.diffusion.conditioning import Conditioner
from streamcam.diffusion.image_model import ImageModel, from_pipeline
from streamcam.diffusion.live_loras import LiveLoras
from streamcam.diffusion.rehearsal import rehearsed
from streamcam.diffusion.steering import LayerInputs, Steering
from streamcam.diffusion.stream import DiffusionStream
from streamcam.engines.accuracy import psnr
from streamcam.engines.builder import EngineBuilder
from streamcam.engines.engine import Engine
from streamcam.engines.flat_stage import FlatStage, flatten_args
from streamcam.engines.store import Store
from streamcam.engines.tensorrt import TensorRtEngine
from streamcam.frames.copy_streams import CALLS_AT_ONCE
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.lora_layers import with_branches
from streamcam.models.lora_updates import Change
from streamcam.models.weight_bytes import elements_of, model_size
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.types import Frame
from tests.diffusion.test_graphed_frames import CANVAS, Graphed
from tests.engines.test_tensorrt import tensorrt
from tests.frames.test_transfer import noise
from tests.support.loras import RANK, TEXT_MLP, TEXT_OUT, pair, save_kohya, save_peft

__all__ = ["tensorrt"]

CPU, FULL = torch.device("cpu"), torch.float32
BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
LINEAR = [
    *(f"{BLOCK}.attn1.to_{name}" for name in ("q", "v", "out.0")),
    *(f"{BLOCK}.attn2.to_{name}" for name in ("q", "k", "v")),
    f"{BLOCK}.ff.net.0.proj",
    "down_blocks.0.resnets.0.time_emb_proj",
]
DORA = f"{BLOCK}.attn2.to_out.0"
IMAGE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
Folder = Callable[[str], Path]


def settings(model: str | Path, **others: Any) -> Config:
    small = {"width": 64, "height": 64, "steps": 1, "dtype": "float32", "acceleration": "eager"}
    base = {"model": str(model), "use_lcm_lora": False, "prompt": "a house", "vae": "full"}
    return build_config([base | small, others])


def loaded(config: Config, lines: list[str] | None = None) -> ImageModel:
    pipe = load_pipeline(config, torch.float32, ([] if lines is None else lines).append)
    return from_pipeline(pipe, config, CPU)


def output(model: ImageModel, config: Config, **changes: Any) -> torch.Tensor:
    """Return the noise that the U-Net predicts in the second of two calls, after `changes`."""
    stream = DiffusionStream(model, config)
    predicted: list[torch.Tensor] = []

    def denoise(*call: Any) -> torch.Tensor:
        predicted.append(model.denoise(*call))
        return predicted[-1]

    stream = DiffusionStream(model._replace(denoise=denoise), config)
    stream(Frame(IMAGE, 0, 0.0), config.live)
    stream(Frame(IMAGE, 1, 0.1), config.live.changed(changes))
    return predicted[-1]


def close(live: torch.Tensor, fused: torch.Tensor) -> None:
    torch.testing.assert_close(live, fused, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def model(model_folder: Folder) -> Path:
    return model_folder("sd-1.5")


@pytest.fixture(scope="module")
def shapes(model: Path) -> dict[str, tuple[int, ...]]:
    pipe = load_pipeline(settings(model), torch.float32, lambda _: None)
    unet = {name: tuple(w.shape) for name, w in pipe.unet.state_dict().items()}
    text = pipe.text_encoder.state_dict().items()
    return unet | {name.removeprefix("text_model."): tuple(w.shape) for name, w in text}


@pytest.fixture(scope="module")
def files(shapes: dict[str, tuple[int, ...]], tmp_path_factory: Any) -> dict[str, str]:
    """LoRAs of several kinds, in the formats of several trainers."""
    folder = tmp_path_factory.mktemp("loras")
    rand = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(shape, generator=rand)

    def pairs(names: list[str], seed: int) -> dict[str, Any]:
        return {n: pair(torch.Size(shapes[f"{n}.weight"]), seed + i) for i, n in enumerate(names)}

    peft = save_peft(folder / "peft.safetensors", pairs(LINEAR, 0), alpha=0.5 * RANK)
    kohya = save_kohya(folder / "kohya.safetensors", pairs(LINEAR[3:5], 9), alpha=2.0)
    words = save_kohya(folder / "words.safetensors", {}, pairs([TEXT_OUT, TEXT_MLP], 20), alpha=0.4)
    save_kohya(folder / "names.safetensors", {}, pairs([TEXT_MLP, TEXT_OUT], 30), alpha=0.3)
    conv, point = "down_blocks.0.downsamplers.0.conv", "down_blocks.0.attentions.0.proj_in"
    (out, wide, *_), (query, width) = (shapes[f"{n}.weight"] for n in (conv, LINEAR[0]))
    channels = shapes[f"{point}.weight"][0]
    others = {
        f"lora_unet_{conv}.lora_down.weight": draw(2, wide, 3, 3),
        f"lora_unet_{conv}.lora_up.weight": draw(out, 2, 1, 1),
        "lora_unet_conv_in.lora_down.weight": draw(2, 4, 1, 1),
        "lora_unet_conv_in.lora_mid.weight": draw(2, 2, 3, 3),
        "lora_unet_conv_in.lora_up.weight": draw(shapes["conv_in.weight"][0], 2, 1, 1),
        f"lora_unet_{point}.lora_down.weight": draw(1, channels),
        f"lora_unet_{point}.lora_up.weight": draw(channels, 1),
        f"lora_unet_{LINEAR[0]}.hada_w1_a": draw(query, 2),
        f"lora_unet_{LINEAR[0]}.hada_w1_b": draw(2, width),
        f"lora_unet_{LINEAR[0]}.hada_w2_a": draw(query, 2),
        f"lora_unet_{LINEAR[0]}.hada_w2_b": draw(2, width),
        f"lora_unet_{LINEAR[1]}.lokr_w1": draw(2, 2),
        f"lora_unet_{LINEAR[1]}.lokr_w2": draw(query // 2, width // 2),
        f"lora_unet_{DORA}.lora_down.weight": draw(1, query),
        f"lora_unet_{DORA}.lora_up.weight": draw(width, 1),
        f"lora_unet_{DORA}.dora_scale": draw(width, 1).abs() + 0.1,
        f"lora_unet_{DORA}.diff_b": draw(width),
        "lora_unet_conv_norm_out.w_norm": draw(*shapes["conv_norm_out.weight"]),
        "lora_unet_conv_norm_out.b_norm": draw(*shapes["conv_norm_out.weight"]),
    }
    kinds = folder / "kinds.safetensors"
    save_file({_joined(name): tensor for name, tensor in others.items()}, kinds)
    return {
        name: str(folder / f"{name}.safetensors") for name in ("peft", "kohya", "words", "names")
    } | {
        "kinds": str(kinds),
        "": str((peft, kohya, words)),
    }


def _joined(name: str) -> str:
    layer, dot, role = name.partition(".lora_") if ".lora_" in name else name.rpartition(".")
    return f"{layer.replace('.', '_')}{dot}{role}"


@pytest.fixture(scope="module")
def plain(model: Path) -> torch.Tensor:
    """What `output` is without any LoRA."""
    return output(loaded(settings(model)), settings(model))


@pytest.mark.parametrize(
    ("scales", "cached"),
    [
        ({"peft": 0.8}, True),
        ({"kinds": -0.7}, True),
        ({"words": 0.333}, True),
        # Both change the same layers of the text encoder.
        ({"words": 2.2, "names": -1.1}, True),
        ({"peft": 0.5, "kohya": -1.2, "kinds": 0.3}, True),
        ({"peft": 0.5, "kohya": -1.2, "kinds": 0.3}, False),
    ],
)
def test_a_live_lora_equals_the_fused_one(
    model: Path,
    files: dict[str, str],
    plain: torch.Tensor,
    scales: dict[str, float],
    cached: bool,
) -> None:
    lora = {files[name]: scale for name, scale in scales.items()}
    config = settings(model, lora=lora, cache_prompt_kv=cached)
    fused = settings(model, lora=lora, live_loras=False)
    live = output(loaded(config), config)
    assert (live - plain).abs().max() > 1e-3
    close(live, output(loaded(fused), fused))


def test_a_scale_that_moves_on_air_is_that_of_the_weights(
    model: Path, files: dict[str, str], plain: torch.Tensor
) -> None:
    names = ("peft", "kinds", "words")
    config = settings(model, lora={files[name]: 0.0 for name in names})
    models = loaded(config)
    assert torch.equal(output(models, config), plain)
    lora = dict(zip(names, (0.65, 0.2, -0.3), strict=True))
    fused = settings(model, lora={files[n]: s for n, s in lora.items()}, live_loras=False)
    close(output(models, config, lora_scale=lora), output(loaded(fused), fused))
    # And back: nothing of it is left.
    assert torch.equal(output(models, config, lora_scale=dict.fromkeys(names, 0.0)), plain)


def test_projections_that_are_fused_keep_their_loras(model: Path, files: dict[str, str]) -> None:
    lora = {files["peft"]: 0.5, files["kinds"]: 0.3}
    config = settings(model, lora=lora)
    pipe = load_pipeline(config, torch.float32, lambda _: None)
    apart = output(from_pipeline(pipe, config, CPU), config)
    pipe = load_pipeline(config, torch.float32, lambda _: None)
    fuse_self_attention(pipe.unet)
    assert not any(hasattr(m, "to_q") for n, m in pipe.unet.named_modules() if n.endswith("attn1"))
    close(output(from_pipeline(pipe, config, CPU), config), apart)


def test_all_texts_of_a_fade_share_some_encodings(model: Path, files: dict[str, str]) -> None:
    config = settings(model, lora={files["words"]: 0.333, files["peft"]: 0.1})
    models = loaded(config)
    encoded: list[str] = []

    def encode_text(text: str) -> Any:
        encoded.append(text)
        return models.encode_text(text)

    conditioner = Conditioner(models._replace(encode_text=encode_text))
    conditioner.prepare(config.live, negative=False)
    for frame in range(100):
        # The other LoRA changes no text encoder: its fade encodes nothing.
        scales = {"words": 0.2 * frame / 99, "peft": frame / 99}
        conditioner.prepare(config.live.changed({"lora_scale": scales}), negative=False)
    assert len(encoded) == 1 + 5


def openvino() -> Engine:
    engine: Engine = pytest.importorskip("streamcam.engines.openvino").OpenVinoEngine("CPU", FULL)
    return engine


ENGINES: dict[str, Callable[[], Engine]] = {
    "openvino": openvino,
    "tensorrt": lambda: TensorRtEngine(CPU, FULL),
}


def test_a_lora_that_is_silent_at_start_is_heard_when_ranges_are_measured() -> None:
    live = settings("nano", lora={"a": 0.0, "b": 0.5}).live
    scales = [each.lora_scale for each in rehearsed(live, ["one", "two", "three"])]
    assert scales == [live.lora_scale, (("a", 1.0), ("b", 0.5)), live.lora_scale]


def test_the_memory_of_a_model_counts_its_live_loras(model: Path, files: dict[str, str]) -> None:
    lora = {files["peft"]: 0.5}
    sizes = [
        model_size(settings(model, **each))
        for each in ({"lora": lora}, {"lora": lora, "live_loras": False}, {})
    ]
    elements = [size.elements for size in sizes if size]
    assert elements[0] - elements[2] == elements_of([Path(files["peft"])])
    assert elements[1] == elements[2]


def test_a_recorded_frame_follows_the_scales(model: Path, files: dict[str, str]) -> None:
    lora = {files[name]: 0.0 for name in ("peft", "kohya", "words")}
    config = settings(model, lora=lora, **CANVAS)
    both = Graphed(loaded(config), config)
    fade = {i: {"lora_scale": {"peft": i / 8, "kohya": 1.0 - i / 8}} for i in range(5, 8)}
    both.assert_same(noise(9, 64, 64), fade)
    assert both.graphs.captures == CALLS_AT_ONCE


class CountingEngine:
    """Builds with another engine, and counts the builds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.builds = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def build(self, *args: Any) -> None:
        self.builds += 1
        self._engine.build(*args)


def test_a_fade_runs_on_one_engine(model: Path, files: dict[str, str], tmp_path: Path) -> None:
    config = settings(model, lora={files[kind]: 0.0 for kind in ("peft", "kohya", "kinds")})
    models = loaded(config)
    engine = CountingEngine(openvino())
    builder = EngineBuilder([engine], Store(tmp_path), print, builder=None, waits=True)
    stage = builder(models.denoise)  # type: ignore[arg-type]
    on_engine, eager = (
        DiffusionStream(m, config) for m in (models._replace(denoise=stage), models)
    )
    for frame in range(4):
        scale = frame / 3
        scales = {"peft": scale, "kohya": -scale, "kinds": scale / 2}
        live = config.live.changed({"lora_scale": scales})
        (one,), (other,) = (stream(Frame(IMAGE, frame, 0.0), live) for stream in (on_engine, eager))
        assert np.abs(one.image.astype(int) - other.image).max() <= 1
    assert engine.builds == 1


class Layers(nn.Module):
    """One layer of every kind that LoRAs change, each with two of them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inputs = LayerInputs()
        rows, grid = (torch.randn(2, 4, 8), torch.randn(2, 4, 8, 3, 3))
        low = {
            i: Change(down, torch.randn(8, 4), bias=torch.randn(8))
            for i, down in enumerate((rows[0], rows[1]))
        }
        convolved = {i: Change(down, torch.randn(8, 4)) for i, down in enumerate(grid)}
        whole = Change(weight=torch.randn(8, 8, 3, 3))
        norm = {i: Change(weight=torch.randn(8), bias=torch.randn(8)) for i in (0, 1)}
        layers = (
            (nn.Conv2d(8, 8, 3, padding=1), convolved),
            (nn.Conv2d(8, 8, 3, stride=2, padding=1), {1: whole}),
            (nn.GroupNorm(2, 8), norm),
            (nn.Linear(8, 8), low),
            (nn.Linear(8, 8), {0: low[0]}),
        )
        self.layers = nn.Sequential(*(with_branches(*pair, self.inputs) for pair in layers))
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor, steering: Steering) -> torch.Tensor:
        self.inputs.begin(steering)
        result: torch.Tensor = self.layers(x)
        return result


@pytest.mark.parametrize("name", [*ENGINES])
def test_an_engine_takes_the_scales_as_an_input(name: str, tensorrt: Any, tmp_path: Path) -> None:
    engine, stage = ENGINES[name](), Layers()

    def inputs(*scales: float) -> tuple[list[torch.Tensor], Any]:
        x = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(0))
        tensors, _, structure = flatten_args((x, Steering(torch.tensor(scales))))
        return tensors, structure

    tensors, structure = inputs(0.0, 0.0)
    flat = FlatStage(stage, structure, [True, *[part is not None for part in Steering(True)]])
    engine.build(flat, tensors, tmp_path)
    run = engine.load(tmp_path)
    for scales in ((0.0, 0.0), (1.0, -0.5), (0.3, 2.0)):
        tensors, _ = inputs(*scales)
        assert psnr(run(*tensors), flat(*tensors)) > 90


@pytest.mark.parametrize("scales", [(0.333, 0.0, -0.77), (1.0, 0.05, 0.0), (0.26, 0.99, 0.26)])
def test_texts_between_two_scales_are_blended_by_their_distance(scales: tuple[float, ...]) -> None:
    every = LiveLoras(start=dict.fromkeys("abc", 9.0))
    every.in_texts = frozenset(range(3))
    knots = every.text_scales(scales)
    assert len(knots) <= 4
    assert all(weight > 0 for _, weight in knots)
    assert sum(weight for _, weight in knots) == pytest.approx(1)
    blend = [sum(weight * knot[i] for knot, weight in knots) for i in range(3)]
    assert blend == pytest.approx(scales)
    assert all(abs(k - s) <= 0.05 for knot, _ in knots for k, s in zip(knot, scales, strict=True))
