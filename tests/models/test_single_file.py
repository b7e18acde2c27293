"""Checkpoints in one file, as people pass them on: marked, pruned, renamed, quantised, broken."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models.checkpoint import load_pipeline
from streamcam.settings.config_layers import build_config
from tests.support.single_files import save_single_file

Folder = Callable[[str], Path]
Weights = dict[str, Tensor]
FIRST = "model.diffusion_model.out.2.weight"


@pytest.fixture(scope="module")
def stored(model_folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Weights]:
    """Return the tensors of a whole checkpoint of each family."""
    root = tmp_path_factory.mktemp("single")
    return {
        name: load_file(save_single_file(model_folder(name), root / f"{name}.safetensors"))
        for name in ("sd-1.5", "sdxl")
    }


@pytest.fixture
def load(model_folder: Folder, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that saves tensors as one file and loads the pipeline in it."""

    def loaded(
        tensors: Weights,
        name: str = "sd-1.5",
        header: dict[str, str] | None = None,
        lines: list[str] | None = None,
        **settings: Any,
    ) -> Any:
        save_file(tensors, file := tmp_path / "dream.safetensors", metadata=header)
        config = build_config(
            [
                {
                    "model": str(file),
                    "vae": "full",
                    "use_lcm_lora": False,
                    "single_file_config": str(model_folder(name)),
                },
                settings,
            ]
        )
        return load_pipeline(config, torch.float32, ([] if lines is None else lines).append)

    return loaded


def refusal(load: Callable[..., Any], tensors: Weights, name: str = "sd-1.5", **more: Any) -> str:
    with pytest.raises(ModelError) as refused:
        load(tensors, name, **more)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_marks_in_a_file_make_it_predict_v_with_rescaled_betas(
    stored: dict[str, Weights], load: Callable[..., Any]
) -> None:
    marks = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    lines: list[str] = []
    scheduler = load(stored["sdxl"] | marks, "sdxl", lines=lines).scheduler.config
    assert scheduler.prediction_type == "v_prediction"
    assert scheduler.rescale_betas_zero_snr
    assert any("predicts v_prediction, with betas rescaled" in line for line in lines)


@pytest.mark.parametrize(("said", "kind"), [("v", "v_prediction"), ("epsilon", "epsilon")])
def test_the_header_of_a_file_says_what_it_predicts(
    stored: dict[str, Weights], load: Callable[..., Any], said: str, kind: str
) -> None:
    pipe = load(stored["sdxl"], "sdxl", header={"modelspec.prediction_type": said})
    assert pipe.scheduler.config.prediction_type == kind


@pytest.mark.parametrize(
    ("change", "header", "said"),
    [
        ({}, {"modelspec.prediction_type": "flow"}, "this model predicts flow"),
        ({"edm_vpred.sigma_max": torch.tensor(1.0)}, None, "EDM schedule"),
        ({"model.diffusion_model.x.scale_weight": torch.tensor(1.0)}, None, "scales no weights"),
        ({FIRST: torch.zeros(4, 16, 3, 3, dtype=torch.int8)}, None, "quantised to int8"),
        ({FIRST: torch.full((4, 16, 3, 3), float("nan"))}, None, "no numbers (NaN or infinity)"),
        ({FIRST: torch.full((4, 16, 3, 3), float("inf"))}, None, "no numbers (NaN or infinity)"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(
    stored: dict[str, Weights],
    load: Callable[..., Any],
    change: Weights,
    header: dict[str, str] | None,
    said: str,
) -> None:
    assert said in refusal(load, stored["sd-1.5"] | change, header=header)


@pytest.mark.parametrize(
    ("prefix", "name", "said"),
    [
        ("first_stage_model.", "sd-1.5", "has no autoencoder of its own; name one with --vae"),
        ("cond_stage_model.", "sd-1.5", "no text encoder that is known"),
        ("model.diffusion_model.", "sd-1.5", "no whole SD 1.x, SD 2.x or SDXL checkpoint"),
        ("conditioner.embedders.0.", "sdxl", "lacks its first text encoder"),
        ("model.diffusion_model.middle_block.", "sd-1.5", "dream.safetensors"),
    ],
)
def test_a_file_without_one_of_its_parts_is_refused_though_the_config_folder_has_it(
    stored: dict[str, Weights], load: Callable[..., Any], prefix: str, name: str, said: str
) -> None:
    pruned = {n: w for n, w in stored[name].items() if not n.startswith(prefix)}
    assert said in refusal(load, pruned, name)


def test_a_file_without_autoencoder_runs_with_the_one_that_is_named(
    stored: dict[str, Weights], load: Callable[..., Any], model_folder: Folder
) -> None:
    pruned = {n: w for n, w in stored["sd-1.5"].items() if not n.startswith("first_stage_model.")}
    pipe = load(pruned, vae=str(model_folder("taesd")))
    assert type(pipe.vae).__name__ == "AutoencoderTiny"


@pytest.mark.parametrize(
    "renamed",
    [
        lambda name: "state_dict." + name,
        lambda name: name.replace("transformer.text_model.", "transformer."),
    ],
    ids=["nested", "first merges"],
)
def test_other_names_of_the_weights_are_known(
    stored: dict[str, Weights], load: Callable[..., Any], renamed: Callable[[str], str]
) -> None:
    pipe = load({renamed(name): weight for name, weight in stored["sd-1.5"].items()})
    plain = load(stored["sd-1.5"])
    for part in ("unet", "text_encoder"):
        expected = getattr(plain, part).state_dict()
        torch.testing.assert_close(getattr(pipe, part).state_dict(), expected)


@pytest.mark.parametrize("ending", ["scale_weight", "weight_scale"])
def test_scales_of_float8_weights_are_applied(
    stored: dict[str, Weights], load: Callable[..., Any], ending: str
) -> None:
    scaled: Weights = {"scaled_fp8": torch.tensor([])}
    for name, weight in stored["sd-1.5"].items():
        scaled[name] = weight
        if name.startswith("model.diffusion_model") and name.endswith("weight"):
            scale = weight.abs().max() / 448
            scaled[name] = (weight / scale).to(torch.float8_e4m3fn)
            scaled[name.removesuffix("weight") + ending] = scale
    expected, unet = load(stored["sd-1.5"]).unet.state_dict(), load(scaled).unet.state_dict()
    for name, weight in unet.items():
        atol = float(expected[name].abs().max()) / 16
        torch.testing.assert_close(weight, expected[name], atol=atol, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_checkpoint_stored_in_float8_is_read(
    stored: dict[str, Weights], load: Callable[..., Any], dtype: torch.dtype
) -> None:
    pipe = load({name: weight.to(dtype) for name, weight in stored["sdxl"].items()}, "sdxl")
    expected = load(stored["sdxl"], "sdxl")
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        for name, weight in getattr(pipe, part).state_dict().items():
            whole = getattr(expected, part).state_dict()[name].to(dtype).float()
            torch.testing.assert_close(weight, whole)


def test_what_trainers_leave_in_a_file_does_no_harm(
    stored: dict[str, Weights], load: Callable[..., Any]
) -> None:
    left = {
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "model_ema.decay": torch.tensor(0.9),
        "betas": torch.rand(1000),
        "global_step": torch.tensor(5),
    }
    torch.testing.assert_close(
        load(stored["sd-1.5"] | left).unet.state_dict(), load(stored["sd-1.5"]).unet.state_dict()
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no fifos")
def test_a_fifo_is_not_waited_for(tmp_path: Path, model_folder: Folder) -> None:
    os.mkfifo(file := tmp_path / "dream.safetensors")
    config = build_config([{"model": str(file), "single_file_config": str(model_folder("sd-1.5"))}])
    with pytest.raises(ModelError):
        load_pipeline(config, torch.float32, lambda _: None)
