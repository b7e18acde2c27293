"""IP-Adapters that do not fit, or are not there, are refused in one line before anything loads."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file

from streamcam.errors import MediaError, ModelError
from streamcam.models.ip_adapter import load_ip_adapter
from streamcam.models.ip_adapter_files import adapter_files, check_image_prompts
from streamcam.models.random_models import random_pipeline
from streamcam.models.weight_bytes import model_size
from streamcam.settings.config import Config
from streamcam.settings.config_layers import build_config
from tests.support.ip_adapters import FILES, save_image_encoder, save_ip_adapter
from tests.support.layouts import truncate

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an adapter of each kind in ``models``, as the published one."""
    folder = tmp_path_factory.mktemp("published")
    unet = random_pipeline("tiny-sd-1.5").unet
    for kind in FILES:
        save_ip_adapter(folder, unet, kind)
    return folder


@pytest.fixture
def models(published: Path, tmp_path: Path) -> Path:
    """Return a copy of its folder ``models``, to be changed."""
    return Path(shutil.copytree(published / "models", tmp_path / "models"))


def config_of(file: Path | str, **settings: Any) -> Config:
    return build_config([{"model": "random:tiny-sd-1.5", "ip_adapter": str(file)}, settings])


@pytest.mark.parametrize("kind", FILES)
def test_the_kind_is_read_from_the_file_and_the_encoder_found_beside_it(
    published: Path, kind: str
) -> None:
    files = adapter_files(config_of(published / "models" / f"{FILES[kind]}_tiny.safetensors"))
    assert files.shape.kind == kind
    assert files.encoder == (published / "models" / "image_encoder").resolve()
    assert (files.shape.text_width, len(files.shape.layers)) == (32, 4)


def test_of_two_encoders_the_one_that_fits_is_taken(models: Path) -> None:
    """As for adapters of SDXL that were trained with the encoder of SD 1.5."""
    sdxl = models.with_name("sdxl_models")
    save_image_encoder(sdxl / "image_encoder", hidden=40, embed=20)
    adapter = shutil.copy(models / "ip-adapter_tiny.safetensors", sdxl)
    assert adapter_files(config_of(adapter)).encoder == (models / "image_encoder").resolve()
    with pytest.raises(ModelError, match=r"is 20 wide, where that takes 24; leave image_encoder"):
        adapter_files(config_of(adapter, image_encoder=str(sdxl / "image_encoder")))
    shutil.rmtree(models)
    with pytest.raises(ModelError, match=r"needs an image encoder 24 wide: .*is 20 wide; put it"):
        adapter_files(config_of(adapter))


def _without_layers(file: Path) -> None:
    save_file({"conv.weight": torch.ones(1)}, file)


def _face_id(file: Path) -> None:
    tensors = {n: t for n, t in load_file(file).items() if "image_proj.proj" not in n}
    save_file(tensors | {"image_proj.proj.0.weight": torch.ones(2, 2)}, file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (truncate, "is damaged or cut off: .*; get it again"),
        (_without_layers, "is no IP-Adapter: .*; choose one such as h94/"),
        (_face_id, r"\(FaceID\), which streamcam does not run; choose a plus-face"),
        (Path.unlink, "no file or folder here, nor one on the hub"),
    ],
)
def test_a_file_that_is_no_usable_adapter_is_refused(
    models: Path, change: Change, message: str
) -> None:
    file = models / "ip-adapter_tiny.safetensors"
    change(file)
    with pytest.raises(ModelError, match=message):
        check_image_prompts(config_of(file))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("models/ip-adapter.bin", "pickled, which can run code; get it as .safetensors"),
        ("some/repo", r"name its file, such as h94/IP-Adapter/models/"),
        ("some/repo/models/x.safetensors", "no model some/repo: .*not in the cache, and offline"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_offline(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_image_prompts(config_of(name, offline=True))


def test_a_folder_is_refused_with_the_names_of_its_adapters(published: Path) -> None:
    with pytest.raises(ModelError, match=r"name the IP-Adapter in it: ip-adapter-full-face_tiny"):
        check_image_prompts(config_of(published / "models"))


def test_an_adapter_for_another_base_is_refused_by_its_shapes(
    published: Path, model_folder: Callable[[str], Path]
) -> None:
    file = published / "models" / "ip-adapter_tiny.safetensors"
    config = config_of(file)
    with pytest.raises(ModelError, match=r"for another base model: .*choose one made for SDXL"):
        load_ip_adapter(config, random_pipeline("tiny-sdxl").unet, "SDXL", torch.float32)
    with pytest.raises(ModelError, match=r"is for texts 32 wide .* is for texts 96 wide"):
        check_image_prompts(config_of(file, model=str(model_folder("sdxl"))))


def test_nano_takes_no_image_prompts(published: Path) -> None:
    with pytest.raises(ModelError, match=r"nano takes no image prompts: .*--model sd15"):
        check_image_prompts(config_of(published / "models" / "x.safetensors", model="nano"))


def test_a_picture_that_cannot_be_read_is_refused_at_once(published: Path, tmp_path: Path) -> None:
    file = published / "models" / "ip-adapter_tiny.safetensors"
    picture = tmp_path / "style.png"
    Pillow.new("RGB", (64, 64)).save(picture)
    check_image_prompts(config_of(file, image_prompt=[f"{picture}:0.5"]))
    truncate(picture)
    for name in (picture, tmp_path / "missing.png"):
        with pytest.raises(MediaError, match=f"cannot read the image {name}"):
            check_image_prompts(config_of(file, image_prompt=[str(name)]))


def test_the_encoder_s_weights_count_as_memory(
    published: Path, model_folder: Callable[[str], Path]
) -> None:
    model = str(model_folder("sd-1.5"))
    file = published / "models" / "ip-adapter_tiny.safetensors"
    plain = model_size(build_config([{"model": model}]))
    with_adapter = model_size(config_of(file, model=model))
    assert plain is not None
    assert with_adapter is not None
    assert 30_000 < with_adapter.elements - plain.elements < 100_000
