"""Thumbnails of presets: which there are, and what the web server sends."""

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from streamcam.control.preset_thumbnails import preset_thumbnail_route, preset_thumbnails
from streamcam.settings.config_layers import split_layer
from streamcam.settings.presets import load_preset, shipped_folder

MAX_BYTES = 8000


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(Starlette(routes=[preset_thumbnail_route()]))


def test_every_shipped_look_has_a_thumbnail_and_no_other_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shipped = [path.stem for path in shipped_folder().glob("*.toml")]
    looks = {name for name in shipped if "prompt" in split_layer(load_preset(name))[1]}
    assert set(preset_thumbnails()) == looks
    assert {file.stem for file in (shipped_folder() / "thumbnails").iterdir()} == looks


@pytest.mark.parametrize("name", ["neon", "pencil"])
def test_a_thumbnail_is_sent_as_a_small_jpeg(client: TestClient, name: str) -> None:
    response = client.get(f"/presets/{name}.jpg")
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/jpeg"
    assert len(response.content) < MAX_BYTES
    with Image.open(BytesIO(response.content)) as image:
        assert image.size == (160, 90)


@pytest.mark.parametrize("name", ["sd-turbo", "nonsense", "..%2Fneon", "%2e%2e/neon", "NEON%00"])
def test_other_names_are_not_found(client: TestClient, name: str) -> None:
    assert client.get(f"/presets/{name}.jpg").status_code == 404


def test_a_preset_of_ones_own_that_hides_a_shipped_one_has_none(tmp_path: Path) -> None:
    own = tmp_path / "neon.toml"
    assert preset_thumbnails({"neon": own, "oil": shipped_folder() / "oil.toml"}).keys() == {"oil"}
