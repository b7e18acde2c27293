"""Names of models: a path, a model on the hub, or a mistake."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from streamcam.errors import ModelError
from streamcam.models import hub


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["stabilityai/sd-turbo", "user.name/Model_1.5-v2", "models/dream"])
def test_a_name_with_one_slash_is_a_hub_id(elsewhere: Path, name: str) -> None:
    assert hub.local_path(name) is None


def test_an_existing_path_wins_over_a_hub_id(elsewhere: Path) -> None:
    folder = elsewhere / "models" / "dream"
    folder.mkdir(parents=True)
    assert hub.local_path("models/dream") == Path("models/dream")
    assert hub.local_path(str(folder)) == folder


def test_a_path_may_begin_at_home(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(elsewhere))
    (elsewhere / "dream").mkdir()
    assert hub.local_path("~/dream") == elsewhere / "dream"


@pytest.mark.parametrize(
    "name", ["dream", "./models/dream", "/models/dream", "a/b/c", "models/dream.safetensors", ""]
)
def test_a_name_that_is_neither_a_path_nor_a_hub_id_is_refused(elsewhere: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"no file or folder here, nor a hub id \(USER/NAME\)"):
        hub.local_path(name)


@pytest.mark.parametrize("name", ["~nobody-here/dream", "x" * 5000])
def test_a_path_that_cannot_be_read_is_refused(elsewhere: Path, name: str) -> None:
    with pytest.raises(ModelError, match="cannot read"):
        hub.local_path(name)


@pytest.mark.parametrize("name", ["dream.ckpt", "user/dream.PT", "dream.pth", "dream.bin"])
def test_pickles_are_refused_whether_they_exist_or_not(elsewhere: Path, name: str) -> None:
    with pytest.raises(ModelError, match="pickled, which can run code"):
        hub.local_path(name)


def test_a_lora_is_a_file_or_the_usual_one_of_its_folder(elsewhere: Path) -> None:
    for name in ("style.safetensors", hub.LORA_FILE):
        (elsewhere / name).touch()
    named = hub.lora_file("style.safetensors", offline=True)
    assert named == Path("style.safetensors")
    assert hub.lora_file(str(elsewhere), offline=True) == elsewhere / hub.LORA_FILE


def test_a_folder_without_a_lora_is_refused(elsewhere: Path) -> None:
    with pytest.raises(ModelError, match=r"holds 0 .safetensors files"):
        hub.lora_file(str(elsewhere), offline=True)


@pytest.mark.parametrize("name", ["user/style", "user/style/neon.safetensors"])
def test_a_lora_that_is_not_cached_is_refused_offline(elsewhere: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"no model user/style: .*not in the cache, and offline"):
        hub.lora_file(name, offline=True)


@pytest.mark.parametrize(
    ("name", "repo", "file"),
    [
        ("user/style", "user/style", hub.LORA_FILE),
        ("user/style/neon.safetensors", "user/style", "neon.safetensors"),
        ("user/style/a/b/neon.safetensors", "user/style", "a/b/neon.safetensors"),
        ("NVIDIA/Long-1.3B/models/lora.pt", "NVIDIA/Long-1.3B", "models/lora.pt"),
    ],
)
def test_a_lora_may_be_any_file_of_a_repository(
    elsewhere: Path, name: str, repo: str, file: str
) -> None:
    assert hub.weights_repo(name, pickled=True) == (repo, file)


def test_a_pickled_lora_is_taken_only_where_it_is_asked_for(elsewhere: Path) -> None:
    (elsewhere / "lora.pt").touch()
    assert hub.lora_file("lora.pt", offline=True, pickled=True) == Path("lora.pt")
    with pytest.raises(ModelError, match=r'no LoRA "other\.pt": no file or folder here'):
        hub.lora_file("other.pt", offline=True, pickled=True)
    for name in ("lora.pt", "user/style/lora.pt"):
        with pytest.raises(ModelError, match="pickled, which can run code"):
            hub.lora_file(name, offline=True)


def test_the_config_of_a_peft_adapter_is_fetched_with_it(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def download(_repo: str, file: str, **_: object) -> str:
        fetched.append(file)
        return file

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    hub.lora_file("user/style/few-step/adapter_model.safetensors", offline=False)
    assert fetched == ["few-step/adapter_config.json", "few-step/adapter_model.safetensors"]


@pytest.mark.parametrize("before", [False, True])
def test_the_libraries_are_offline_only_within_the_context(
    monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", before)
    with hub.offline_mode(offline=True):
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is before
    with hub.offline_mode(offline=False):
        assert constants.HF_HUB_OFFLINE is before
