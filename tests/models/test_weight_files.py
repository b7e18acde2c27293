"""A model's weights are known to be the same only while every file of it is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from streamcam.models.weight_files import weight_files, weights_source
from streamcam.settings.config import Config


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as unchanged at once."""
    monkeypatch.setattr("streamcam.system.file_identity.SETTLED_FINE_S", -1e9)
    monkeypatch.setattr("streamcam.system.file_identity.SETTLED_COARSE_S", -1e9)


def source(model: str | Path, **settings: object) -> tuple[str, str | None]:
    return weights_source(Config(model=str(model), **settings), torch.float32)


def test_the_files_of_a_folder_are_all_that_a_model_is_loaded_from() -> None:
    files = {file.name for file in weight_files(Config(model="nano"))}
    assert {"model_index.json", "scheduler_config.json", "tokenizer_config.json"} <= files
    assert any(name.endswith(".safetensors") for name in files)


def test_a_cached_repository_is_known_by_its_snapshots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    empty = source("some/model")
    unet = tmp_path / "models--some--model" / "snapshots" / "0123" / "unet"
    unet.mkdir(parents=True)
    (unet / "weights.safetensors").write_bytes(b"1")
    assert weight_files(Config(model="some/model")) == [unet / "weights.safetensors"]
    assert source("some/model") != empty


def test_weights_in_another_dtype_or_with_another_lora_are_others(tmp_path: Path) -> None:
    lora = tmp_path / "lora.safetensors"
    lora.write_bytes(b"1")
    config = Config(model="nano")
    in_half = weights_source(config, torch.float16)
    sources = [source("nano"), in_half, source("nano", lora={str(lora): 1.0})]
    sources.append(source("nano", lora={str(lora): 0.5}))
    assert len(set(sources)) == 4
    assert source("nano") == sources[0]


def test_a_changed_file_of_a_model_makes_its_weights_others(
    tmp_path: Path, model_folder: Callable[[str], Path]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder("sd-turbo"), folder)
    before = source(folder)
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    after = source(folder)
    assert before[0] == after[0]
    assert None not in (before[1], after[1])
    assert before[1] != after[1]
