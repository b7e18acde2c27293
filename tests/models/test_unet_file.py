"""U-Nets in one file, as few-step models are published: their layouts, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.presence import check_image_models
from streamcam.models.weight_files import weight_files, weights_source
from streamcam.settings.config_layers import build_config
from tests.support.loras import UNET_QUERY, pair, save_peft
from tests.support.single_files import original_unet_names, save_single_file

Folder = Callable[[str], Path]
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def other(model_folder: Folder) -> Weights:
    """Return weights that fit the U-Net of tiny SDXL, and are not its own."""
    stored = load_file(next((model_folder("sdxl") / "unet").glob("*.safetensors")))
    generator = torch.Generator().manual_seed(7)
    return {name: torch.randn(w.shape, generator=generator) for name, w in stored.items()}


def loaded(base: Path, unet: Path | str, lines: list[str] | None = None, **settings: Any) -> Any:
    named = {"model": str(base), "unet": str(unet), "vae": "full", "use_lcm_lora": False}
    config = build_config([named | settings])
    return load_pipeline(config, torch.float32, ([] if lines is None else lines).append)


def refusal(base: Path, unet: Path | str) -> str:
    with pytest.raises(ModelError) as refused:
        loaded(base, unet)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def in_original_layout(weights: Weights, prefix: str) -> Weights:
    names = original_unet_names(weights)
    return {f"{prefix}{names[name]}": weight for name, weight in weights.items()}


@pytest.mark.parametrize(
    "layout",
    ["diffusers", "diffusers.bin", "original", "ComfyUI", "whole checkpoint"],
)
def test_a_unet_in_any_layout_replaces_that_of_its_base(
    model_folder: Folder, tmp_path: Path, other: Weights, layout: str
) -> None:
    base, file = model_folder("sdxl"), tmp_path / "few_step_unet.safetensors"
    if layout == "diffusers":
        save_file(other, file)
    elif layout == "diffusers.bin":
        file = file.with_suffix(".bin")
        torch.save(other, file)
    elif layout == "original":
        save_file(in_original_layout(other, "model.diffusion_model."), file)
    elif layout == "ComfyUI":
        save_file(in_original_layout(other, ""), file)
    else:
        whole = load_file(save_single_file(base, file))
        save_file(whole | in_original_layout(other, "model.diffusion_model."), file)
    lines: list[str] = []
    pipe = loaded(base, file, lines)
    torch.testing.assert_close(pipe.unet.state_dict(), other)
    assert f"U-Net {file}" in lines


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_unet_in_float8_is_read(
    model_folder: Folder, tmp_path: Path, other: Weights, dtype: torch.dtype, scaled: bool
) -> None:
    stored: Weights = {}
    for name, weight in other.items():
        scale = weight.abs().max() / 4 if scaled and name.endswith(".weight") else torch.tensor(1.0)
        stored[name] = (weight / scale).to(dtype)
        if scaled and name.endswith(".weight"):
            stored[name.removesuffix("weight") + "scale_weight"] = scale
    if scaled:
        stored["scaled_fp8"] = torch.zeros(2, dtype=dtype)
    save_file(stored, file := tmp_path / "unet.safetensors")
    unet = loaded(model_folder("sdxl"), file).unet
    assert unet.dtype == torch.float32
    for name, weight in unet.state_dict().items():
        torch.testing.assert_close(weight, other[name], rtol=0.15, atol=0.02)


def test_a_published_unet_that_predicts_the_image_is_known_by_its_name(
    model_folder: Folder, tmp_path: Path, other: Weights
) -> None:
    save_file(other, file := tmp_path / "sdxl_lightning_1step_unet_x0.safetensors")
    base = model_folder("sdxl")
    assert loaded(base, file).scheduler.config.prediction_type == "sample"
    said = loaded(base, file, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    assert said.scheduler.config.prediction_type == "v_prediction"
    assert said.scheduler.config.rescale_betas_zero_snr


def test_files_that_are_no_unet_of_the_base_are_refused_in_one_line(
    model_folder: Folder, tmp_path: Path, other: Weights
) -> None:
    sdxl, file = model_folder("sdxl"), tmp_path / "unet.safetensors"
    save_file(other, file)
    assert "is no U-Net for the SD 1.x model" in refusal(model_folder("sd-1.5"), file)
    save_file({n: w for n, w in other.items() if "mid_block" not in n}, file)
    assert "lacks mid_block." in refusal(sdxl, file)
    save_file(other | {"conv_in.weight": torch.zeros(16, 9, 3, 3)}, file)
    assert "its conv_in.weight is (16, 9, 3, 3), not (16, 4, 3, 3)" in refusal(sdxl, file)
    save_peft(file, {UNET_QUERY: pair((16, 16))})
    assert "is a LoRA, not a U-Net; give it with --lora" in refusal(sdxl, file)
    file.write_bytes(b"\0" * 100)
    assert "is damaged or cut off" in refusal(sdxl, file)
    assert "is a folder; name the file of the U-Net in it" in refusal(sdxl, tmp_path)
    assert 'no U-Net "missing.safetensors": no file here' in refusal(sdxl, "missing.safetensors")


class _Harmful:
    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_a_pickled_unet_runs_no_code(
    model_folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"conv_in.weight": _Harmful()}, file := tmp_path / "unet.bin")
    assert "could run code; get it as .safetensors" in refusal(model_folder("sdxl"), file)
    assert "run\n" not in capsys.readouterr().out


def test_a_missing_unet_is_told_before_anything_loads(model_folder: Folder) -> None:
    for unet, said in (
        ("missing.safetensors", "no file here"),
        ("ByteDance/SDXL-Lightning/sdxl_lightning_4step_unet.safetensors", "offline; fetch it"),
        ("tianweiy/DMD2/dmd2_sdxl_1step_unet_fp16.bin", "offline; fetch it once"),
    ):
        config = build_config([{"model": str(model_folder("sdxl")), "unet": unet, "offline": True}])
        with pytest.raises(ModelError, match=said):
            check_image_models(config)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_the_weights_of_a_model_follow_from_its_unet_too(
    model_folder: Folder, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"unet{suffix}"
    file.write_bytes(b"one")
    base = {"model": str(model_folder("sdxl"))}
    config = build_config([base | {"unet": str(file)}])
    assert file in weight_files(config)
    plain = weights_source(build_config([base]), torch.float32)
    assert weights_source(config, torch.float32)[0] != plain[0]
