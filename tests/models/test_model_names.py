"""Names of models: a path, a model on the hub, or a mistake."""

from pathlib import Path

import pytest

from streamcam.errors import ModelError
from streamcam.models import model_names


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["stabilityai/sd-turbo", "user.name/Model_1.5-v2", "models/dream"])
def test_a_name_with_one_slash_is_a_hub_id(elsewhere: Path, name: str) -> None:
    assert model_names.local_path(name) is None


def test_an_existing_path_wins_over_a_hub_id(elsewhere: Path) -> None:
    folder = elsewhere / "models" / "dream"
    folder.mkdir(parents=True)
    assert model_names.local_path("models/dream") == Path("models/dream")
    assert model_names.local_path(str(folder)) == folder


def test_a_path_may_begin_at_home(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(elsewhere))
    (elsewhere / "dream").mkdir()
    assert model_names.local_path("~/dream") == elsewhere / "dream"


@pytest.mark.parametrize(
    "name", ["dream", "./models/dream", "/models/dream", "a/b/c", "models/dream.safetensors", ""]
)
def test_a_name_that_is_neither_a_path_nor_a_hub_id_is_refused(elsewhere: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"no file or folder here, nor a hub id \(USER/NAME\)"):
        model_names.local_path(name)


@pytest.mark.parametrize("name", ["~nobody-here/dream", "x" * 5000])
def test_a_path_that_cannot_be_read_is_refused(elsewhere: Path, name: str) -> None:
    with pytest.raises(ModelError, match="cannot read"):
        model_names.local_path(name)


@pytest.mark.parametrize("name", ["dream.ckpt", "user/dream.PT", "dream.pth", "dream.bin"])
def test_pickles_are_refused_whether_they_exist_or_not(elsewhere: Path, name: str) -> None:
    with pytest.raises(ModelError, match="pickled, which can run code"):
        model_names.local_path(name)
