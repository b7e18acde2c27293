"""Test that an exported model loads and streams like any other, and its evaluation."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from streamcam.bench.harness import mean_frame_difference
from streamcam.diffusion.image_model import ImageModel, load_image_model
from streamcam.diffusion.stream import DiffusionStream
from streamcam.settings.config_layers import build_config
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


def settings(folder: Path, **overrides: Any) -> dict[str, Any]:
    return {"model": str(folder), "width": 256, "height": 256, "offline": True} | EAGER | overrides


@pytest.fixture(scope="module")
def models(folder: Path) -> ImageModel:
    return load_image_model(build_config([settings(folder)]), report=lambda _: None)


def image(size: int = 256) -> np.ndarray:
    ramp = np.linspace(0, 255, size, dtype=np.uint8)
    return np.stack(np.broadcast_arrays(ramp[:, None], ramp, ramp[::-1]), -1)


def test_the_exported_folder_is_small_and_contains_no_local_paths(folder: Path) -> None:
    assert weight_bytes(folder) < MAX_BYTES
    for file in folder.rglob("*.json"):
        assert str(folder.parent) not in file.read_text(encoding="utf-8")


def test_the_exported_folder_contains_recommended_settings(folder: Path) -> None:
    config = build_config([{"model": str(folder)}])
    assert (config.width, config.height, config.indices(config.live)) == (256, 256, (40,))
    assert config.live.prompt


def test_the_model_family_is_detected_from_the_config_files(folder: Path) -> None:
    messages: list[str] = []
    loaded = load_image_model(build_config([settings(folder)]), report=messages.append)
    assert loaded.latent_shape == (model.LATENT_CHANNELS, 32, 32)
    assert any("no LCM-LoRA" in line for line in messages), messages
    assert any("sample" in line for line in messages)


@pytest.mark.parametrize("cfg_type", ["none", "full", "self", "initialize"])
def test_an_exported_model_streams_with_all_guidance(models: ImageModel, cfg_type: str) -> None:
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


def test_an_untrained_model_keeps_the_colours_of_the_camera(models: ImageModel) -> None:
    config = build_config([settings(Path("nano"), cfg_type="none", t_index_list=[45])])
    (out,) = DiffusionStream(models, config)(Frame(image(), 0, 0.0), config.live)
    assert np.corrcoef(out.image.flatten(), image().flatten())[0, 1] > 0.8


@pytest.mark.parametrize(("width", "height"), [(264, 256), (512, 384)])
def test_an_exported_model_accepts_other_sizes(folder: Path, width: int, height: int) -> None:
    config = build_config([settings(folder, width=width, height=height, steps=1)])
    stream = DiffusionStream(load_image_model(config, report=lambda _: None), config)
    (out,) = stream(Frame(image(), 0, 0.0), config.live)
    assert out.image.shape == (height, width, 3)


def test_a_model_that_is_too_large_is_not_exported(tmp_path: Path) -> None:
    parts = model.build(tokenizer.learn(text.corpus(0, prompts=200)))
    parts.unet.conv_in = torch.nn.Conv2d(2000, 2000, 3)
    with pytest.raises(ValueError, match="more than"):
        export(parts, tmp_path / "nano")
    assert not (tmp_path / "nano").exists()


def test_measures_distinguish_equal_images_from_different_ones() -> None:
    ramps = image(64)
    noise = np.random.default_rng(0).integers(0, 256, ramps.shape, dtype=np.uint8)
    assert psnr(ramps, ramps) > 70
    assert psnr(ramps, noise) < 20
    assert edge_correlation(noise, noise) > 0.99
    assert edge_correlation(ramps, noise) < 0.3
    assert mean_frame_difference([ramps, ramps]) == 0 < mean_frame_difference([ramps, noise])


def test_an_evaluation_writes_a_table_and_contact_sheets(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "SETTINGS", {"[40]": {"t_index_list": (40,)}})
    monkeypatch.setattr(contact_sheets, "STEPS", ((40,),))
    monkeypatch.setattr(contact_sheets, "SCALES", (1.0,))
    monkeypatch.setattr(contact_sheets, "SHARES", (0.5,))
    report = evaluate.evaluate(folder, tmp_path, seed=0, size=64, scenes=1, most_cases=3)
    assert "| **mean** |" in report
    sheets = {file.name for file in tmp_path.iterdir()}
    assert sheets == {"evaluation.md", "looks.jpg", "steps.jpg", "guidance.jpg", "blends.jpg"}


def test_every_look_is_evaluated_also_in_colours_if_it_accepts_them() -> None:
    names = [case.name for case in evaluate.cases(0)]
    assert len(names) == len(set(names))
    assert "neon" in names
    assert any(name.startswith("neon (") for name in names)


def test_the_renderer_returns_an_output_for_each_image(folder: Path) -> None:
    renderer = Renderer(folder, 64)
    outputs = renderer.render([image(64)] * 3, [["neon", 0.5], ["ink", 0.5]], (32, 45))
    assert len(outputs) == 3
    assert np.array_equal(outputs[0], outputs[2])
