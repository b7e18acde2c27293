"""Files of models: named, found in folders, or fetched from the hub."""

from pathlib import Path

import pytest

from streamcam.errors import ModelError
from streamcam.models import model_files


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_lora_is_a_file_or_the_usual_one_of_its_folder(elsewhere: Path) -> None:
    for name in ("style.safetensors", model_files.LORA_FILE):
        (elsewhere / name).touch()
    named = model_files.lora_file("style.safetensors", offline=True)
    assert named == Path("style.safetensors")
    assert model_files.lora_file(str(elsewhere), offline=True) == elsewhere / model_files.LORA_FILE


def test_a_folder_without_a_lora_is_refused(elsewhere: Path) -> None:
    with pytest.raises(ModelError, match=r"holds 0 .safetensors files"):
        model_files.lora_file(str(elsewhere), offline=True)


@pytest.mark.parametrize("name", ["user/style", "user/style/neon.safetensors"])
def test_a_lora_that_is_not_cached_is_refused_offline(elsewhere: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"no model user/style: .*not in the cache, and offline"):
        model_files.lora_file(name, offline=True)


@pytest.mark.parametrize(
    ("name", "repo", "file"),
    [
        ("user/style", "user/style", model_files.LORA_FILE),
        ("user/style/neon.safetensors", "user/style", "neon.safetensors"),
        ("user/style/a/b/neon.safetensors", "user/style", "a/b/neon.safetensors"),
        ("NVIDIA/Long-1.3B/models/lora.pt", "NVIDIA/Long-1.3B", "models/lora.pt"),
    ],
)
def test_a_lora_may_be_any_file_of_a_repository(
    elsewhere: Path, name: str, repo: str, file: str
) -> None:
    assert model_files.weights_repo(name, pickled=True) == (repo, file)


def test_a_pickled_lora_is_taken_only_where_it_is_asked_for(elsewhere: Path) -> None:
    (elsewhere / "lora.pt").touch()
    assert model_files.lora_file("lora.pt", offline=True, pickled=True) == Path("lora.pt")
    with pytest.raises(ModelError, match=r'no LoRA "other\.pt": no file or folder here'):
        model_files.lora_file("other.pt", offline=True, pickled=True)
    for name in ("lora.pt", "user/style/lora.pt"):
        with pytest.raises(ModelError, match="pickled, which can run code"):
            model_files.lora_file(name, offline=True)


def test_the_config_of_a_peft_adapter_is_fetched_with_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def download(_repo: str, file: str, **_: object) -> str:
        fetched.append(file)
        return file

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    model_files.lora_file("user/style/few-step/adapter_model.safetensors", offline=False)
    assert fetched == ["few-step/adapter_config.json", "few-step/adapter_model.safetensors"]


def test_a_controlnet_may_be_any_file_of_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(repo: str, file: str, **_: object) -> str:
        return f"{repo}:{file}"

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    for file in ("depth.safetensors", "sd15/depth.safetensors"):
        found = model_files.control_path(f"user/nets/{file}", offline=True)
        assert found == Path(f"user/nets:{file}")
