"""Models in their real layouts on disk, whole and damaged, through the code that loads them."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from streamcam import cli
from streamcam.diffusion.image_model import encode_text, from_pipeline, load_image_model
from streamcam.diffusion.stages import Condition, Denoise
from streamcam.errors import ModelError
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.families import family_of, is_few_step
from streamcam.models.random_models import random_pipeline, random_tiny_vae
from streamcam.settings.config_layers import build_config
from tests.support.layouts import edit_json, truncate
from tests.support.single_files import save_single_file
from tests.support.streams import EAGER, TINY, RecordingStream, images, moving

Folder = Callable[[str], Path]

FAMILIES = {
    "sd-1.5": ("sd-1", False),
    "sd-2.1": ("sd-2", False),
    "sd-turbo": ("sd-2", True),
    "sdxl": ("sdxl", False),
    "sdxl-turbo": ("sdxl", True),
}
UNET = "unet/diffusion_pytorch_model.safetensors"


def loaded(model: Path, lines: list[str] | None = None, **settings: Any) -> Any:
    """Return the pipeline that is loaded for `model`, by default with its own autoencoder."""
    config = build_config([{"model": str(model), "vae": "full", "use_lcm_lora": False}, settings])
    return load_pipeline(config, torch.float32, (lines if lines is not None else []).append)


def outputs(model: Path, **settings: Any) -> np.ndarray:
    """Return the outputs of a stream for a few frames."""
    defaults = {"model": str(model), "vae": "full", "use_lcm_lora": False}
    return images(RecordingStream(**defaults | settings)(moving(3)))


def refusal(model: Path, **settings: Any) -> str:
    """Return the one line in which `model` is refused."""
    with pytest.raises(ModelError) as refused:
        loaded(model, **settings)
    line = str(refused.value)
    assert "\n" not in line
    return line


@pytest.fixture
def copy(model_folder: Folder, tmp_path: Path) -> Folder:
    """Return a function that gives a copy of a model, to be changed or damaged."""

    def copied(name: str) -> Path:
        return Path(shutil.copytree(model_folder(name), tmp_path / name))

    return copied


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_loads_and_streams(model_folder: Folder, name: str) -> None:
    pipe = loaded(model_folder(name))
    assert (family_of(pipe), is_few_step(pipe)) == FAMILIES[name]
    full = outputs(model_folder(name))
    tiny = outputs(model_folder(name), vae=str(model_folder("taesd")))
    assert full.shape == tiny.shape == (3, 64, 64, 3)
    assert not np.array_equal(full, tiny)
    assert not np.array_equal(full[0], full[1])


def test_a_model_of_no_known_family_is_described_by_its_size() -> None:
    lines: list[str] = []
    load_pipeline(build_config([{"model": "nano"}]), torch.float32, lines.append)
    assert re.fullmatch(
        r"model nano: \d+ million parameters, predicts the image \(sample\)", lines[0]
    )


def test_the_family_and_the_prediction_are_reported(model_folder: Folder) -> None:
    lines: list[str] = []
    loaded(model_folder("sd-2.1"), lines)
    assert lines == [f"model {model_folder('sd-2.1')}: SD 2.x, predicts the velocity (v)"]


@pytest.mark.parametrize(
    ("file", "changes", "few"),
    [
        ("scheduler/scheduler_config.json", {"timestep_spacing": "trailing"}, True),
        (
            "scheduler/scheduler_config.json",
            {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True},
            False,
        ),
    ],
)
def test_few_step_models_are_recognised_by_their_schedule(
    copy: Folder, file: str, changes: dict[str, Any], few: bool
) -> None:
    folder = copy("sd-2.1")
    edit_json(folder / file, **changes)
    assert is_few_step(loaded(folder)) is few


def test_a_latent_consistency_scheduler_means_few_steps(copy: Folder) -> None:
    folder = copy("sd-1.5")
    edit_json(folder / "model_index.json", scheduler=["diffusers", "LCMScheduler"])
    edit_json(folder / "scheduler/scheduler_config.json", _class_name="LCMScheduler")
    assert is_few_step(loaded(folder))


def test_a_guidance_embedding_means_few_steps(copy: Folder) -> None:
    folder = copy("sd-1.5")
    edit_json(folder / "unet/config.json", time_cond_proj_dim=16)
    weights = load_file(folder / UNET)
    width = weights["time_embedding.linear_1.weight"].shape[1]
    weights["time_embedding.cond_proj.weight"] = torch.zeros(width, 16)
    save_file(weights, folder / UNET)
    assert is_few_step(loaded(folder))


def test_the_noise_of_a_v_prediction_model_follows_from_its_velocity(model_folder: Folder) -> None:
    pipe = loaded(model_folder("sd-2.1"))
    config = build_config([TINY, {"cache_prompt_kv": False}])
    models = from_pipeline(pipe, config, torch.device("cpu"))
    x_t = torch.randn((2, *models.latent_shape), generator=torch.Generator().manual_seed(3))
    timesteps = torch.tensor([999, 399])
    with torch.inference_mode():
        states = encode_text(pipe, "a cat", models.device).prompt_embeds.repeat(2, 1, 1)
        v = pipe.unet(x_t, timesteps, encoder_hidden_states=states).sample
        noise = models.denoise(x_t, timesteps, Condition(states, None, None))
    alpha = models.alphas_cumprod[timesteps].sqrt().view(2, 1, 1, 1)
    beta = (1 - models.alphas_cumprod[timesteps]).sqrt().view(2, 1, 1, 1)
    torch.testing.assert_close(noise, alpha * v + beta * x_t)


class Predicting(torch.nn.Module):
    """A U-Net that predicts noise, converted to predict the velocity or the sample."""

    def __init__(self, unet: Any, prediction: str, alphas_cumprod: torch.Tensor) -> None:
        super().__init__()
        self.unet, self.prediction, self.alphas_cumprod = unet, prediction, alphas_cumprod
        self.dtype, self.device, self.config = unet.dtype, unet.device, unet.config

    def forward(self, x_t: torch.Tensor, timesteps: torch.Tensor, **kwargs: Any) -> Any:
        eps = self.unet(x_t, timesteps, **kwargs)[0]
        alpha = self.alphas_cumprod[timesteps].sqrt().view(-1, 1, 1, 1)
        beta = (1 - self.alphas_cumprod[timesteps]).sqrt().view(-1, 1, 1, 1)
        x_0 = (x_t - beta * eps) / alpha
        return (alpha * eps - beta * x_0 if self.prediction == "v_prediction" else x_0,)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_what_a_model_predicts_does_not_change_the_stream(prediction: str) -> None:
    models = load_image_model(build_config([TINY]), report=lambda _: None)
    of_noise = RecordingStream(models)
    of_noise(moving(4))
    alphas = models.alphas_cumprod
    other = Denoise(Predicting(models.denoise.unet, prediction, alphas), prediction, alphas)
    of_other = RecordingStream(models._replace(denoise=other))
    of_other(moving(4))
    torch.testing.assert_close(of_other.latents, of_noise.latents, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["sd-1.5", "sd-2.1", "sdxl"])
def test_a_single_file_gives_the_images_of_its_folder(
    model_folder: Folder, tmp_path: Path, name: str
) -> None:
    folder = model_folder(name)
    file = save_single_file(folder, tmp_path / f"{name}.safetensors")
    from_file = outputs(file, single_file_config=str(folder))
    np.testing.assert_array_equal(from_file, outputs(folder))


def test_a_single_file_reports_the_source_of_its_config(
    model_folder: Folder, tmp_path: Path
) -> None:
    folder, lines = model_folder("sd-1.5"), []
    file = save_single_file(folder, tmp_path / "dream.safetensors")
    loaded(file, lines, single_file_config=str(folder))
    assert lines[0] == f"dream.safetensors has no config of its own: read as {folder} describes it"


def test_a_single_file_without_config_is_refused_with_the_remedy(
    model_folder: Folder, tmp_path: Path
) -> None:
    file = save_single_file(model_folder("sd-1.5"), tmp_path / "dream.safetensors")
    line = refusal(file, offline=True)
    assert "dream.safetensors needs the config files of its family" in line
    assert "stable-diffusion-v1-5/stable-diffusion-v1-5" in line
    assert "--set single_file_config=FOLDER" in line


def test_a_single_file_of_another_shape_than_its_config_is_refused(
    model_folder: Folder, tmp_path: Path
) -> None:
    file = save_single_file(model_folder("sd-1.5"), tmp_path / "dream.safetensors")
    line = refusal(file, single_file_config=str(model_folder("sd-2.1")))
    assert str(model_folder("sd-2.1")) in line


def test_a_folder_without_index_cannot_describe_a_single_file(
    model_folder: Folder, tmp_path: Path
) -> None:
    file = save_single_file(model_folder("sd-1.5"), tmp_path / "dream.safetensors")
    line = refusal(file, single_file_config=str(model_folder("taesd")))
    assert "cannot describe dream.safetensors" in line


def test_a_single_file_for_inpainting_is_refused(model_folder: Folder, tmp_path: Path) -> None:
    file = save_single_file(model_folder("sd-1.5"), tmp_path / "paint.safetensors")
    weights = load_file(file)
    weights["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(16, 9, 3, 3)
    save_file(weights, file)
    assert "9 channels, not 4: inpainting" in refusal(file)


def test_a_file_that_is_no_checkpoint_is_refused(model_folder: Folder) -> None:
    line = refusal(model_folder("taesd") / "diffusion_pytorch_model.safetensors")
    assert "no whole SD 1.x, SD 2.x or SDXL checkpoint" in line
    assert "--lora" in line


def test_a_truncated_single_file_is_named(model_folder: Folder, tmp_path: Path) -> None:
    file = truncate(save_single_file(model_folder("sd-1.5"), tmp_path / "dream.safetensors"))
    line = refusal(file)
    assert line.startswith(f"{file} is damaged or cut off ({file.stat().st_size} bytes)")
    assert "fetch it again" in line


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_truncated_file_of_weights_is_named(copy: Folder, part: str) -> None:
    folder = copy("sd-turbo")
    (file,) = (folder / part).glob("*.safetensors")
    truncate(file)
    line = refusal(folder)
    assert f"{file} is damaged or cut off" in line
    assert "delete it and fetch it again" in line


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_missing_file_of_weights_is_named(copy: Folder, part: str) -> None:
    folder = copy("sd-turbo")
    (file,) = (folder / part).glob("*.safetensors")
    file.unlink()
    line = refusal(folder)
    assert f"/{part}" in line
    assert "fetch the model again" in line


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_missing_weight_is_named(copy: Folder, part: str) -> None:
    folder = copy("sd-turbo")
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    gone = sorted(weights)[3]
    del weights[gone]
    save_file(weights, file, metadata={"format": "pt"})
    line = refusal(folder)
    lacking = f"{part} of {folder} lacks 1 of its weights, such as "
    assert line == f"{lacking}{gone.removeprefix('text_model.')}; fetch the model again"


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_pickled_weights_are_not_read(copy: Folder, part: str) -> None:
    folder = copy("sd-turbo")
    (file,) = (folder / part).glob("*.safetensors")
    torch.save(load_file(file), file.with_suffix(".bin"))
    if part == "text_encoder":
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
    file.unlink()
    assert refusal(folder).startswith(f"{folder / part} has pickled weights alone")


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin"])
def test_a_pickled_checkpoint_is_refused_unopened(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert "pickled, which can run code" in refusal(tmp_path / name)


def test_a_missing_tokenizer_is_named(copy: Folder) -> None:
    folder = copy("sd-turbo")
    shutil.rmtree(folder / "tokenizer")
    line = f"{folder}/tokenizer lacks tokenizer.json; fetch the model again"
    assert refusal(folder) == line


@pytest.mark.parametrize("gone", ["vocab.json", "merges.txt"])
def test_a_tokenizer_with_half_its_files_is_refused(copy: Folder, gone: str) -> None:
    folder = copy("sd-turbo")
    (folder / "tokenizer" / gone).unlink()
    assert refusal(folder) == f"{folder}/tokenizer lacks {gone}; fetch the model again"


def test_loading_gives_no_advice_meant_for_authors(
    copy: Folder, recwarn: pytest.WarningsRecorder
) -> None:
    folder = copy("sd-2.1")
    edit_json(folder / "scheduler/scheduler_config.json", steps_offset=0)
    recwarn.clear()
    loaded(folder)
    assert [warning for warning in recwarn if warning.category is FutureWarning] == []


@pytest.mark.parametrize(
    "file",
    ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json", "vae/config.json"],
)
def test_a_broken_config_is_named(copy: Folder, file: str) -> None:
    folder = copy("sd-turbo")
    truncate(folder / file)
    line = refusal(folder)
    assert f"{folder / file} is damaged or cut off" in line
    assert "fetch it again" in line


CONFIGS = [
    "model_index.json",
    "unet/config.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "tokenizer/vocab.json",
]


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "\x00"])
@pytest.mark.parametrize("file", CONFIGS)
def test_a_config_of_another_kind_is_refused_in_one_line(
    copy: Folder, file: str, content: str
) -> None:
    folder = copy("sd-turbo")
    (folder / file).write_text(content)
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("model_index.json", {"unet": 3}),
        ("model_index.json", {"unet": []}),
        ("model_index.json", {"text_encoder": [None, None]}),
        ("model_index.json", {"unet": [1, 2]}),
        ("model_index.json", {"vae": None}),
        ("unet/config.json", {"block_out_channels": "x"}),
        ("unet/config.json", {"cross_attention_dim": None}),
        ("unet/config.json", {"_class_name": 7}),
        ("scheduler/scheduler_config.json", {"beta_start": "x"}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": -1}),
        ("text_encoder/config.json", {"hidden_size": "x"}),
    ],
)
def test_a_value_of_another_type_in_a_config_is_refused_in_one_line(
    copy: Folder, file: str, changes: dict[str, Any]
) -> None:
    folder = copy("sd-turbo")
    edit_json(folder / file, **changes)
    assert str(folder) in refusal(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no fifos")
@pytest.mark.parametrize("file", [*CONFIGS, UNET, "vae/config.json"])
def test_a_fifo_in_the_place_of_a_file_is_not_waited_for(copy: Folder, file: str) -> None:
    folder = copy("sd-turbo")
    (folder / file).unlink()
    os.mkfifo(folder / file)
    line = refusal(folder)
    assert str(folder / file) in line
    assert "pipe" in line


def test_a_config_that_is_far_too_large_is_not_read(copy: Folder) -> None:
    folder = copy("sd-turbo")
    with (folder / "unet/config.json").open("r+b") as config:
        config.truncate(2**30)
    assert "unet/config.json is too large for a file of settings" in refusal(folder)


HEADERS = {
    "longer than the file": (2**40).to_bytes(8, "little") + b"{}",
    "no JSON": (2).to_bytes(8, "little") + b"[[",
    "nested too deeply": (100_000).to_bytes(8, "little") + b"[" * 100_000,
    "another type": (9).to_bytes(8, "little") + b'{"a": 12}',
    "empty": b"",
}


@pytest.mark.parametrize(
    ("kind", "header"),
    [
        *[("single file", header) for header in HEADERS.values()],
        *[(kind, HEADERS["nested too deeply"]) for kind in ("model", "lora", "vae")],
    ],
)
def test_weights_with_a_broken_header_are_named(
    copy: Folder, model_folder: Folder, tmp_path: Path, kind: str, header: bytes
) -> None:
    folder, single = copy("sd-turbo"), tmp_path / "dream.safetensors"
    vae = copy("taesd")
    file = {"model": folder / UNET, "vae": vae / Path(UNET).name}.get(kind, single)
    file.write_bytes(header)
    settings: dict[str, Any] = {"lora": [str(single)]} if kind == "lora" else {}
    if kind == "vae":
        settings["vae"] = str(vae)
    line = refusal(single if kind == "single file" else folder, **settings)
    assert line.startswith(f"{file} is damaged or cut off")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_no_numbers_are_refused(copy: Folder, part: str) -> None:
    folder = copy("sd-turbo")
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    name = next(n for n, w in weights.items() if w.is_floating_point())
    weights[name] = weights[name].clone()
    weights[name].view(-1)[0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    assert f"{part} of {folder} holds values that are no numbers" in refusal(folder)


def test_a_model_without_autoencoder_runs_with_the_one_that_is_named(
    copy: Folder, model_folder: Folder
) -> None:
    folder = copy("sd-turbo")
    shutil.rmtree(folder / "vae")
    pipe = loaded(folder, vae=str(model_folder("taesd")))
    assert type(pipe.vae).__name__ == "AutoencoderTiny"
    assert f"{folder}/vae lacks" in refusal(folder)


def test_a_model_of_the_edm_schedule_is_refused(copy: Folder) -> None:
    folder = copy("sd-turbo")
    name = "EDMEulerScheduler"
    edit_json(folder / "model_index.json", scheduler=["diffusers", name])
    (folder / "scheduler/scheduler_config.json").write_text(f'{{"_class_name": "{name}"}}')
    assert "EDM schedule" in refusal(folder)


@pytest.mark.parametrize(
    "file", ["unet/config.json", "scheduler/scheduler_config.json", "text_encoder/config.json"]
)
def test_a_missing_config_is_named(copy: Folder, file: str) -> None:
    folder = copy("sd-turbo")
    (folder / file).unlink()
    line = refusal(folder)
    assert Path(file).name in line
    assert file.split("/", maxsplit=1)[0] in line


def sharded(folder: Path) -> list[Path]:
    """Spread the U-Net's weights over two files and an index."""
    weights = load_file(folder / UNET)
    (folder / UNET).unlink()
    names = sorted(weights)
    files = [folder / f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    halves = [names[::2], names[1::2]]
    for file, half in zip(files, halves, strict=True):
        save_file({name: weights[name] for name in half}, file, metadata={"format": "pt"})
    places = {n: f.name for f, half in zip(files, halves, strict=True) for n in half}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / f"{UNET}.index.json").write_text(json.dumps(index))
    return files


def test_weights_in_several_files_load(copy: Folder, model_folder: Folder) -> None:
    folder = copy("sd-turbo")
    sharded(folder)
    np.testing.assert_array_equal(outputs(folder), outputs(model_folder("sd-turbo")))


def test_a_missing_shard_is_named(copy: Folder) -> None:
    folder = copy("sd-turbo")
    sharded(folder)[1].unlink()
    assert "diffusion_pytorch_model-00002-of-00002.safetensors" in refusal(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_folder_with_half_precision_files_alone_loads(copy: Folder, dtype: torch.dtype) -> None:
    folder = copy("sd-turbo")
    for file in [*folder.glob("*/*.safetensors")]:
        halved = {name: weight.half() for name, weight in load_file(file).items()}
        save_file(halved, file.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
        file.unlink()
    config = build_config([{"model": str(folder), "vae": "full"}])
    pipe = load_pipeline(config, dtype, lambda _: None)
    assert {pipe.unet.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {dtype}


def test_half_precision_files_are_preferred_on_a_device_of_half_precision(copy: Folder) -> None:
    folder = copy("sd-turbo")
    marked = {name: torch.zeros_like(w).half() for name, w in load_file(folder / UNET).items()}
    save_file(marked, (folder / UNET).with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
    config = build_config([{"model": str(folder), "vae": "full"}])
    halved = load_pipeline(config, torch.float16, lambda _: None)
    whole = load_pipeline(config, torch.float32, lambda _: None)
    assert not halved.unet.conv_in.weight.any()
    assert whole.unet.conv_in.weight.any()


def test_an_inpainting_model_is_refused(copy: Folder) -> None:
    folder = copy("sd-1.5")
    edit_json(folder / "unet/config.json", in_channels=9)
    weights = load_file(folder / UNET)
    weights["conv_in.weight"] = torch.zeros(16, 9, 3, 3)
    save_file(weights, folder / UNET)
    assert "takes 9 channels where its autoencoder makes 4" in refusal(folder)


def test_a_refiner_is_refused(copy: Folder) -> None:
    folder = copy("sdxl")
    kind = "StableDiffusionXLImg2ImgPipeline"
    edit_json(folder / "model_index.json", _class_name=kind, requires_aesthetics_score=True)
    assert "a refiner" in refusal(folder)


def test_an_unknown_kind_of_pipeline_is_refused(copy: Folder) -> None:
    folder = copy("sd-turbo")
    edit_json(folder / "model_index.json", _class_name="FluxPipeline")
    assert refusal(folder) == (
        f"{folder} is a FluxPipeline; streamcam runs SD 1.x, SD 2.x, SDXL and their Turbos"
    )


def test_a_folder_in_another_layout_is_refused(tmp_path: Path) -> None:
    line = refusal(tmp_path)
    assert line.startswith(f"{tmp_path} is not in diffusers layout: it has no model_index.json")


def test_an_unknown_name_is_refused() -> None:
    line = refusal(Path("no such thing"))
    assert line == 'no model "no such thing": no file or folder here, nor a hub id (USER/NAME)'


def test_a_mistyped_file_is_not_asked_of_the_hub() -> None:
    assert "no file or folder here" in refusal(Path("models/dream.safetensors"), offline=False)


def test_a_model_that_is_not_cached_is_refused_offline() -> None:
    line = refusal(Path("someone/something"), offline=True)
    assert "not in the cache, and offline" in line
    assert '"streamcam models pull someone/something"' in line


def test_a_truncated_autoencoder_is_named(copy: Folder, model_folder: Folder) -> None:
    vae = copy("taesd")
    truncate(vae / "diffusion_pytorch_model.safetensors")
    assert f"{vae}/diffusion_pytorch_model" in refusal(model_folder("sd-turbo"), vae=str(vae))


def test_a_model_that_is_no_autoencoder_is_refused(model_folder: Folder) -> None:
    line = refusal(model_folder("sd-turbo"), vae=str(model_folder("sd-turbo") / "unet"))
    assert "no autoencoder in diffusers layout" in line


def test_an_autoencoder_of_other_latents_is_refused(model_folder: Folder, tmp_path: Path) -> None:
    random_tiny_vae(16, width=8).save_pretrained(tmp_path)
    line = refusal(model_folder("sd-turbo"), vae=str(tmp_path))
    assert "has latents of 16 channels, the model takes 4" in line


def test_the_command_line_prints_the_error_in_one_line(
    copy: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy("sd-turbo")
    truncate(folder / UNET)
    flags = ["--model", str(folder), "--vae", "full", "--frames", "1", "--width", "64"]

    def command(**options: Any) -> None:
        cli.streamcam.main(["render", "pattern", str(tmp_path / "out.npy"), *flags], **options)

    assert cli._run(command) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(f"streamcam: {folder / UNET} is damaged or cut off")


@torch.inference_mode()
def test_a_latent_consistency_model_gets_the_guidance_it_was_distilled_at() -> None:
    """Left out, such a model runs as if its guidance embedding did not exist."""
    pipe = random_pipeline("tiny-sd-1.5")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe.unet = type(pipe.unet).from_config(pipe.unet.config, time_cond_proj_dim=16)
    raw, x_t, timesteps = pipe.unet, torch.randn(2, 4, 8, 8), torch.tensor([999, 19])
    embedding = pipe.get_guidance_scale_embedding(torch.tensor([7.5]), embedding_dim=16)
    embeds = torch.randn(2, 77, raw.config.cross_attention_dim)
    expected = raw(x_t, timesteps, embeds, timestep_cond=embedding.expand(2, -1)).sample
    untold = raw(x_t, timesteps, embeds).sample
    models = from_pipeline(
        pipe, build_config([EAGER, {"cache_prompt_kv": False}]), torch.device("cpu")
    )
    ours = models.denoise(x_t, timesteps, Condition(embeds, None, None))
    torch.testing.assert_close(ours, expected)
    assert not torch.allclose(ours, untold)
