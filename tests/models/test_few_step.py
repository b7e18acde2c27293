"""Few-step models by their published names, and what follows from them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamcam.diffusion.sampling_choice import sampling_of
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.few_step import few_step_model, recognise
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config_layers import build_config
from tests.support.loras import UNET_QUERY, pair, save_peft

Folder = Callable[[str], Path]
ALPHAS = torch.linspace(0.99, 0.01, 1000)


@pytest.mark.parametrize(
    ("name", "kind", "sampler", "spacing", "steps"),
    [
        ("ByteDance/SDXL-Lightning/sdxl_lightning_4step_lora.safetensors",
         "SDXL-Lightning", "euler", "trailing", 4),
        ("models/sdxl_lightning_8step_unet.safetensors", "SDXL-Lightning", "euler", "trailing", 8),
        ("ByteDance/Hyper-SD/Hyper-SD15-2steps-lora.safetensors",
         "Hyper-SD", "ddim", "trailing", 2),
        ("ByteDance/Hyper-SD/Hyper-SDXL-8steps-CFG-lora.safetensors",
         "Hyper-SD", "ddim", "trailing", 8),
        ("ByteDance/Hyper-SD/Hyper-SDXL-1step-lora.safetensors",
         "the unified Hyper-SD", "tcd", "lcm", None),
        ("ByteDance/Hyper-SD/Hyper-SDXL-1step-Unet.safetensors",
         "Hyper-SD for one step", "lcm", "lcm", 1),
        ("tianweiy/DMD2/dmd2_sdxl_4step_lora_fp16.safetensors", "DMD2", "lcm", "trailing", 4),
        ("h1t/TCD-SDXL-LoRA", "TCD", "tcd", "lcm", None),
        ("wangfuyun/PCM_Weights/sd15/pcm_sd15_smallcfg_2step_converted.safetensors",
         "PCM", "ddim", "trailing", 2),
        ("wangfuyun/PCM_Weights/sdxl/pcm_sdxl_lcmlike_lora_converted.safetensors",
         "PCM in the manner of LCM", "lcm", "lcm", None),
        ("latent-consistency/lcm-lora-sdv1-5", "LCM", "lcm", "lcm", None),
        ("h1t/TCD-SD15-LoRA/pytorch_lora_weights.safetensors", "TCD", "tcd", "lcm", None),
    ],
)  # fmt: skip
def test_a_published_name_says_how_a_model_is_run(
    name: str, kind: str, sampler: str, spacing: str, steps: int | None
) -> None:
    found = recognise(name)
    assert found is not None
    assert found.kind[:1] + found.kind[2:4] == (kind, sampler, spacing)
    assert found.steps == steps


@pytest.mark.parametrize(
    "name",
    ["style.safetensors", "hyperrealistic.safetensors", "user/lightning-bolts", "watercolour_4step",
     "admd2x.safetensors", "lcm_lora/style.safetensors", "/home/dmd2/loras/style.safetensors"],
)  # fmt: skip
def test_other_names_say_nothing(name: str) -> None:
    assert recognise(name) is None


def test_a_lora_that_is_off_says_nothing() -> None:
    config = build_config([{"lora": {"h1t/TCD-SDXL-LoRA": 0.0}}])
    assert few_step_model(config) is None


@pytest.mark.parametrize(
    ("name", "fused"),
    [
        ("sdxl_lightning_4step_lora.safetensors", False),
        ("Hyper-SDXL-4steps-lora.safetensors", False),
        ("dmd2_sdxl_4step_lora_fp16.safetensors", False),
        ("pcm_sdxl_smallcfg_4step_converted.safetensors", False),
        ("style.safetensors", True),
    ],
)
def test_no_lcm_lora_is_added_to_a_lora_for_few_steps(
    model_folder: Folder, tmp_path: Path, name: str, fused: bool
) -> None:
    base = model_folder("sdxl")
    shape = random_pipeline("tiny-sdxl").unet.get_submodule(UNET_QUERY).weight.shape
    few = save_peft(tmp_path / name, {UNET_QUERY: pair(shape, 1)})
    lcm = save_peft(tmp_path / "other.safetensors", {UNET_QUERY: pair(shape, 2)})
    named = {"model": str(base), "vae": "full", "lora": {str(few): 1.0}, "lcm_lora_id": str(lcm)}
    lines: list[str] = []
    load_pipeline(build_config([named]), torch.float32, lines.append)
    assert any(line.startswith(f"LCM-LoRA {lcm}") for line in lines) is fused
    assert any(line.endswith("so no LCM-LoRA is added") for line in lines) is not fused


def test_settings_win_over_what_a_name_says() -> None:
    pipe, lines = random_pipeline("tiny-sd-1.5"), []
    lora = {"ByteDance/SDXL-Lightning/sdxl_lightning_4step_lora.safetensors": 1.0}
    chosen = sampling_of(pipe, build_config([{"lora": lora}]), ALPHAS, lines.append)
    assert chosen[:3] == ("trailing", None, "euler")
    assert "with num_inference_steps=50 it runs at other timesteps than its own" in lines[0]
    other = {"lora": lora, "sampler": "tcd", "timestep_spacing": "lcm", "timesteps": [800]}
    chosen = sampling_of(pipe, build_config([other, {"steps": 1}]), ALPHAS, lines.append)
    assert chosen[:3] == ("lcm", (800,), "tcd")


def test_the_published_behaviour_is_kept_for_every_other_model() -> None:
    for name in ("sd-turbo", "sd-1.5", "sdxl-turbo", "sd-2.1"):
        pipe = random_pipeline(f"tiny-{name}")
        chosen = sampling_of(pipe, build_config([]), ALPHAS, lambda _: None)
        assert chosen == ("lcm", None, "lcm", False)
