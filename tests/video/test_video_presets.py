"""Video presets: each finds its files by their names on the hub, and runs on small ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from streamcam.settings.presets import load_preset, shipped_folder
from streamcam.video.flow_matching import FlowSchedule
from streamcam.video.video_model import load_video_model
from streamcam.video.video_stream import VideoStream
from streamcam.video.wan_checkpoint import load_transformer
from tests.support.loras import pair
from tests.support.streams import images, moving
from tests.video.video_streams import TINY
from tests.video.wan_layouts import published_weights, save_base

ROOT = Path(__file__).resolve().parents[2]
DIM = 128
SHARDED, WRAPPED = "model._fsdp_wrapped_module.", "model."
FILES: dict[str, tuple[str, str]] = {
    "jerryfeng/StreamDiffusionV2/wan_causal_dmd_v2v/model.pt": ("generator", WRAPPED),
    "gdhe17/Self-Forcing/checkpoints/self_forcing_dmd.pt": ("generator_ema", WRAPPED),
    "zhuhz22/Causal-Forcing/chunkwise/causal_forcing.pt": ("generator", WRAPPED),
    "zhuhz22/Causal-Forcing/framewise/causal_forcing.pt": ("generator_ema", SHARDED),
    "zhuhz22/Causal-Forcing/causal-forcing++/framewise-2step.pt": ("generator_ema", SHARDED),
    "Efficient-Large-Model/LongLive-1.3B/models/longlive_base.pt": ("generator", WRAPPED),
}
"""Tables and prefixes of the weights in the published files."""
LORA = "Efficient-Large-Model/LongLive-1.3B/models/lora.pt"
PRESETS = [
    "streamdiffusion-v2",
    "self-forcing",
    "causal-forcing",
    "causal-forcing-framewise",
    "causal-forcing-2-step",
    "longlive-base",
    "longlive",
]
Build = Callable[[str], Config]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with small files in the layouts of the published ones."""
    folder = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    weights = {name: 0.1 * value for name, value in published_weights(2, DIM).items()}
    for name, (table, prefix) in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        torch.save({table: {prefix + n: w for n, w in weights.items()}}, folder / name)
    a, b = pair((DIM, DIM))
    layer = "base_model.model.blocks.1.cross_attn.o"
    lora = {f"{layer}.lora_A.weight": a.bfloat16(), f"{layer}.lora_B.weight": b.bfloat16()}
    torch.save({"generator_lora": lora, "critic_lora": lora, "step": 3000}, folder / LORA)
    save_base(folder / "base")
    return folder


@pytest.fixture
def build(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Return what makes the configuration of a preset at a small size, with files from `hub`."""

    def download(repo: str, file: str, **_: object) -> str:
        return str(hub / repo / file)

    def built(preset: str) -> Config:
        small = {name: value for name, value in TINY.items() if name not in ("model", "pipeline")}
        size = {"width": 16, "height": 16, "video_base": str(hub / "base")}
        return build_config([load_preset(preset), small, size])

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return built


def rendered(config: Config, count: int) -> Any:
    lines: list[str] = []
    stream = VideoStream(load_video_model(config, lines.append), config)
    frames = [out for frame in moving(count, size=32) for out in stream(frame, config.live)]
    frames += stream.drain(config.live)
    return images(frames), lines


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_runs_on_files_of_the_published_layout(preset: str, build: Build) -> None:
    config = build(preset)
    outputs, lines = rendered(config, 10)
    assert outputs.shape == (10, 16, 16, 3)
    assert outputs.std() > 0
    assert any("2 layers of 128" in line for line in lines)
    assert any(line.startswith("LoRA") for line in lines) is (preset == "longlive")


def test_the_lora_of_longlive_makes_the_difference_to_its_base(build: Build) -> None:
    base, longlive = (
        load_transformer(build(name), torch.float32, torch.device("cpu")).state_dict()
        for name in ("longlive-base", "longlive")
    )
    a, b = (x.bfloat16().float() for x in pair((DIM, DIM)))
    changed = [name for name in base if not torch.equal(base[name], longlive[name])]
    name = "blocks.1.attn2.to_out.0.weight"
    assert changed == [name]
    # Its alpha, which the file does not hold, was as large as its rank.
    torch.testing.assert_close(longlive[name] - base[name], b @ a, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_denoises_at_the_published_timesteps(preset: str, build: Build) -> None:
    video = build(preset).video
    flow = FlowSchedule.shifted(video.flow_shift)
    timesteps = video.timesteps(4)
    warped = flow.warp_timesteps(timesteps) if video.warp_timesteps else list(timesteps)
    expected = {
        "streamdiffusion-v2": [700, 500, 400, 200],
        "causal-forcing-2-step": [1000, 2500 / 3],
    }
    assert warped == pytest.approx(expected.get(preset, [1000, 937.5, 2500 / 3, 625]), abs=1e-3)


def test_every_video_preset_is_tried_here_and_named_in_the_docs() -> None:
    shipped = {path.stem: path for path in shipped_folder().glob("*.toml")}
    video = {name for name in shipped if load_preset(str(shipped[name])).get("pipeline") == "video"}
    assert video == set(PRESETS)
    page = (ROOT / "docs" / "video.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in PRESETS)
