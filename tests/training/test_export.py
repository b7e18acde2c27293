"""An exported model is one like any other."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamcam.bench.harness import mean_frame_difference
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.settings.config import build_config
from streamcam.types import Frame
from tests.support.streams import EAGER
from training import contact_sheets, evaluate, model, text, tokenizer
from training.export import export, weight_bytes
from training.measures import edge_correlation, psnr
from training.model import MAX_BYTES
from training.renderer import Renderer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parts = model.build(tokenizer.learn(text.corpus(0, prompts=200)))
    return export(parts, tmp_path_factory.mktemp("export") / "nano")


def settings(folder: Path, **settings_: Any) -> dict[str, Any]:
    return {"model": str(folder), "width": 256, "height": 256, "offline": True} | EAGER | settings_


@pytest.fixture(scope="module")
def models(folder: Path) -> ImageModel:
    return load_image_model(build_config([settings(folder)]), report=lambda _: None)


def image(size: int = 256) -> np.ndarray:
    ramp = np.linspace(0, 255, size, dtype=np.uint8)
    return np.stack(np.broadcast_arrays(ramp[:, None], ramp, ramp[::-1]), -1)


def test_the_folder_is_small_enough_and_names_no_path(folder: Path) -> None:
    assert weight_bytes(folder) < MAX_BYTES
    for file in folder.rglob("*.json"):
        assert str(folder.parent) not in file.read_text(encoding="utf-8")


def test_it_brings_how_it_is_best_run(folder: Path) -> None:
    config = build_config([{"model": str(folder)}])
    assert (config.width, config.height, config.indices(config.live)) == (256, 256, (40,))
    assert config.live.prompt


def test_its_variety_is_told_from_its_config_files(folder: Path) -> None:
    said: list[str] = []
    loaded = load_image_model(build_config([settings(folder)]), report=said.append)
    assert loaded.latent_shape == (16, 32, 32)
    assert any("no LCM-LoRA" in line for line in said), said
    assert any("sample" in line for line in said)


@pytest.mark.parametrize("cfg_type", ["none", "full", "self", "initialize"])
def test_it_streams_in_every_kind_of_guidance(models: ImageModel, cfg_type: str) -> None:
    config = build_config(
        [
            settings(
                Path("nano"),
                cfg_type=cfg_type,
                t_index_list=[32, 45],
                prompt="blue neon edges",
                negative_prompt="oil painting",
            )
        ]
    )
    stream = DiffusionStream(models, config)
    frames = [Frame(image(), i, 0.0) for i in range(2)]
    out = [f for frame in frames for f in stream(frame, config.live)] + stream.drain(config.live)
    assert [frame.image.shape for frame in out] == [(256, 256, 3)] * 2


def test_even_untrained_it_gives_back_the_colours_of_the_camera(models: ImageModel) -> None:
    config = build_config([settings(Path("nano"), cfg_type="none", t_index_list=[45])])
    (out,) = DiffusionStream(models, config)(Frame(image(), 0, 0.0), config.live)
    assert np.corrcoef(out.image.flatten(), image().flatten())[0, 1] > 0.8


@pytest.mark.parametrize(("width", "height"), [(264, 256), (512, 384)])
def test_it_takes_other_sizes(folder: Path, width: int, height: int) -> None:
    config = build_config([settings(folder, width=width, height=height, steps=1)])
    stream = DiffusionStream(load_image_model(config, report=lambda _: None), config)
    (out,) = stream(Frame(image(), 0, 0.0), config.live)
    assert out.image.shape == (height, width, 3)


def test_too_large_a_model_is_not_exported(tmp_path: Path) -> None:
    parts = model.build(tokenizer.learn(text.corpus(0, prompts=200)))
    parts.unet.conv_in = torch.nn.Conv2d(2000, 2000, 3)
    with pytest.raises(ValueError, match="more than"):
        export(parts, tmp_path / "nano")
    assert not (tmp_path / "nano").exists()


def test_measures_know_the_same_picture_from_another() -> None:
    one = image(64)
    other = np.random.default_rng(0).integers(0, 256, one.shape, dtype=np.uint8)
    assert psnr(one, one) > 70
    assert psnr(one, other) < 20
    assert edge_correlation(other, other) > 0.99
    assert edge_correlation(one, other) < 0.3
    assert mean_frame_difference([one, one]) == 0 < mean_frame_difference([one, other])


def test_an_evaluation_writes_its_table_and_its_sheets(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "SETTINGS", {"[40]": {"t_index_list": (40,)}})
    monkeypatch.setattr(contact_sheets, "STEPS", ((40,),))
    monkeypatch.setattr(contact_sheets, "SCALES", (1.0,))
    monkeypatch.setattr(contact_sheets, "SHARES", (0.5,))
    shown = evaluate.evaluate(folder, tmp_path, seed=0, size=64, scenes=1, most_cases=3)
    assert "| **mean** |" in shown
    sheets = {file.name for file in tmp_path.iterdir()}
    assert sheets == {"evaluation.md", "looks.jpg", "steps.jpg", "guidance.jpg", "blends.jpg"}


def test_every_look_has_a_case_and_colours_where_it_takes_them() -> None:
    names = [case.name for case in evaluate.cases(0)]
    assert len(names) == len(set(names))
    assert "neon" in names
    assert any(name.startswith("neon (") for name in names)


def test_the_studio_gives_a_picture_for_each_it_gets(folder: Path) -> None:
    renderer = Renderer(folder, 64)
    made = renderer.render([image(64)] * 3, [["neon", 0.5], ["ink", 0.5]], (32, 45))
    assert len(made) == 3
    assert np.array_equal(made[0], made[2])
