"""Few-step models by their published names, and what follows from them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamcam.control.preset_bank import PresetBank
from streamcam.diffusion.sampling_choice import sampling_of
from streamcam.diffusion.schedule import steps_at, trailing_timesteps
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.few_step import few_step_model, recognise
from streamcam.models.random_models import random_pipeline
from streamcam.settings.config_layers import build_config
from streamcam.settings.presets import find_presets, load_preset
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
        ("tianweiy/DMD2/dmd2_sdxl_1step_unet_fp16.bin", "DMD2", "lcm", "lcm", 1),
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
    ("unet", "said"),
    [
        ("Hyper-SDXL-1step-Unet.safetensors", "--set timesteps=800"),
        ("dmd2_sdxl_1step_unet_fp16.bin", "--set timesteps=399"),
    ],
)
def test_a_model_that_knows_one_timestep_says_which(unet: str, said: str) -> None:
    lines: list[str] = []
    sampling_of(random_pipeline("tiny-sdxl"), build_config([{"unet": unet}]), ALPHAS, lines.append)
    assert said in lines[0]


@pytest.mark.parametrize(
    "name",
    ["style.safetensors", "hyperrealistic.safetensors", "user/lightning-bolts", "watercolour_4step",
     "admd2x.safetensors", "lcm_lora/style.safetensors", "/home/dmd2/loras/style.safetensors"],
)  # fmt: skip
def test_other_names_say_nothing(name: str) -> None:
    assert recognise(name) is None


def test_a_lora_that_is_off_says_nothing() -> None:
    config = build_config([{"lora": {"h1t/TCD-SDXL-LoRA": 0.0}}])
    assert few_step_model(config, lcm_lora=True) is None


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


def test_the_lora_for_few_steps_of_a_preset_stays_when_others_are_given() -> None:
    name = "ByteDance/SDXL-Lightning/sdxl_lightning_4step_lora.safetensors"
    preset = load_preset("sdxl-lightning")
    config = build_config([preset, {"lora": "style.safetensors:0.8"}])
    assert (config.lora, config.lcm_lora_id) == ({"style.safetensors": 0.8}, name)
    chosen = sampling_of(
        random_pipeline("tiny-sdxl"),
        build_config([{"use_lcm_lora": True, "lcm_lora_id": name, "num_inference_steps": 4}]),
        ALPHAS,
        pytest.fail,
    )
    assert chosen[:3] == ("trailing", None, "euler")


FEW_STEP_PRESETS = [name for name in sorted(find_presets()) if name.startswith(("sd", "noobai"))]


@pytest.mark.parametrize("name", FEW_STEP_PRESETS)
def test_every_preset_of_a_model_runs_at_timesteps_that_its_model_knows(name: str) -> None:
    config = build_config([load_preset(name)])
    lines: list[str] = []
    pipe = random_pipeline("tiny-sdxl-turbo" if "turbo" in name else "tiny-sdxl")
    sampling = sampling_of(pipe, config, ALPHAS, lines.append)
    assert lines == []
    known = few_step_model(config, lcm_lora=config.use_lcm_lora is not False)
    if known:
        assert sampling.sampler == known.kind.sampler
        if known.kind.is_made_for:
            assert known.steps == config.live.num_inference_steps == len(config.timesteps or ())
    steps = steps_at(config.indices(config.live), config.live.num_inference_steps, ALPHAS, sampling)
    spaced = trailing_timesteps(config.live.num_inference_steps)
    trailing = config.timesteps is None or len(config.timesteps) > 1
    assert not trailing or set(steps.timesteps.tolist()) <= set(spaced)


@pytest.mark.parametrize("name", FEW_STEP_PRESETS)
def test_every_preset_of_a_model_names_its_source_and_licence(name: str) -> None:
    text = find_presets()[name].read_text()
    assert "# From huggingface.co/" in text
    assert "Licence: " in text


def test_the_steps_of_a_preset_stay_when_a_look_is_loaded_on_air() -> None:
    config = build_config([load_preset("sdxl-lightning")])
    bank = PresetBank(config, pytest.fail)
    changed = config.changed(config.live, bank.changes("neon"))
    assert changed.num_inference_steps == 4
    assert config.indices(changed) == (2, 3)
