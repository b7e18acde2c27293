"""IP-Adapters that do not fit, or are not there, are refused in one line before anything loads."""

import json
import math
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
Shapes = dict[str, tuple[int, ...]]

VIT_H = {"hidden_size": 1280, "projection_dim": 1024}
VIT_BIG_G = {"hidden_size": 1664, "projection_dim": 1280}
SD = [320, 320, 640, 640, *[1280] * 5, *[640] * 3, *[320] * 3, 1280]
SDXL = [*[640] * 4, *[1280] * 50, *[640] * 6, *[1280] * 10]
"""Widths of the cross-attentions: of the way down, of the way up, and of the middle."""


def plain(read: int, width: int) -> Shapes:
    tokens = {"proj.weight": (4 * width, read), "proj.bias": (4 * width,)}
    return tokens | {"norm.weight": (width,), "norm.bias": (width,)}


def plus(read: int, width: int, inner: int = 768) -> Shapes:
    shapes: Shapes = {"latents": (1, 16, inner)}
    for name, shape in (("proj_in", (inner, read)), ("proj_out", (width, inner))):
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    norms = {"norm_out": width} | {
        f"layers.{i}.{norm}": inner for i in range(4) for norm in ("0.norm1", "0.norm2", "1.0")
    }
    for norm, size in norms.items():
        shapes |= {f"{norm}.weight": (size,), f"{norm}.bias": (size,)}
    for i in range(4):
        shapes |= {
            f"layers.{i}.0.to_q.weight": (768, inner),
            f"layers.{i}.0.to_kv.weight": (1536, inner),
            f"layers.{i}.0.to_out.weight": (inner, 768),
            f"layers.{i}.1.1.weight": (4 * inner, inner),
            f"layers.{i}.1.3.weight": (inner, 4 * inner),
        }
    return shapes


def mlp(read: int, between: int, out: int, norm: str, width: int) -> Shapes:
    return {
        "proj.0.weight": (between, read),
        "proj.0.bias": (between,),
        "proj.2.weight": (out, between),
        "proj.2.bias": (out,),
        f"{norm}.weight": (width,),
        f"{norm}.bias": (width,),
    }


FACE_ID = mlp(512, 1024, 4 * 768, "norm", 768)
PUBLISHED: dict[str, tuple[Shapes, list[int], str, dict[str, int]]] = {
    "models/ip-adapter_sd15": (plain(1024, 768), SD, "plain", VIT_H),
    "models/ip-adapter_sd15_vit-G": (plain(1280, 768), SD, "plain", VIT_BIG_G),
    "models/ip-adapter-plus_sd15": (plus(1280, 768), SD, "plus", VIT_H),
    "models/ip-adapter-plus-face_sd15": (plus(1280, 768), SD, "plus", VIT_H),
    "models/ip-adapter-full-face_sd15": (
        mlp(1280, 1280, 768, "proj.3", 768),
        SD,
        "full-face",
        VIT_H,
    ),
    "sdxl_models/ip-adapter_sdxl": (plain(1280, 2048), SDXL, "plain", VIT_BIG_G),
    "sdxl_models/ip-adapter_sdxl_vit-h": (plain(1024, 2048), SDXL, "plain", VIT_H),
    "sdxl_models/ip-adapter-plus_sdxl_vit-h": (plus(1280, 2048, 1280), SDXL, "plus", VIT_H),
}
"""Files of h94/IP-Adapter: shapes of their projection, layers, kind and image encoder."""
OF_FACES: dict[str, tuple[Shapes, list[int]]] = {
    "ip-adapter-faceid_sd15": (FACE_ID, SD),
    "ip-adapter-faceid_sdxl": (mlp(512, 1024, 4 * 2048, "norm", 2048), SDXL),
    "ip-adapter-faceid-plusv2_sd15": (
        FACE_ID | {f"perceiver_resampler.{n}": s for n, s in plus(1280, 768).items()},
        SD,
    ),
    "ip-adapter-instantid": (plus(512, 2048, 1280), SDXL),
}


def save_shapes(file: Path, projection: Shapes, layers: list[int], text: int) -> Path:
    """Write a file of the real names and shapes, whose values take no room on the disk."""
    shapes = {f"image_proj.{name}": shape for name, shape in projection.items()}
    for number, width in enumerate(layers):
        for part in ("to_k_ip", "to_v_ip"):
            shapes[f"ip_adapter.{2 * number + 1}.{part}.weight"] = (width, text)
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as written:
        written.write(len(encoded).to_bytes(8, "little") + encoded)
        written.truncate(8 + len(encoded) + end)
    return file


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the image encoders where h94/IP-Adapter has them."""
    folder = tmp_path_factory.mktemp("h94")
    for parent, widths in (("models", VIT_H), ("sdxl_models", VIT_BIG_G)):
        path = folder / parent / "image_encoder"
        path.mkdir(parents=True)
        (path / "config.json").write_text(json.dumps(widths))
    return folder


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_adapters_are_known_by_their_names_and_shapes(encoders: Path, name: str) -> None:
    projection, layers, kind, encoder = PUBLISHED[name]
    text = 768 if layers is SD else 2048
    file = save_shapes(encoders / f"{name}.safetensors", projection, layers, text)
    found = adapter_files(config_of(file))
    assert (found.shape.kind, found.shape.text_width) == (kind, text)
    assert found.shape.layers == tuple(layers)
    own = "models" if encoder is VIT_H else "sdxl_models"
    assert found.encoder == (encoders / own / "image_encoder").resolve()
    other = encoders / ("sdxl_models" if encoder is VIT_H else "models") / "image_encoder"
    with pytest.raises(ModelError, match=r"image encoder .* does not fit the IP-Adapter"):
        check_image_prompts(config_of(file, image_encoder=str(other)))


@pytest.mark.parametrize("name", OF_FACES)
def test_adapters_that_read_faces_by_another_network_are_refused(tmp_path: Path, name: str) -> None:
    projection, layers = OF_FACES[name]
    text = 768 if layers is SD else 2048
    file = save_shapes(tmp_path / f"{name}.safetensors", projection, layers, text)
    for spelled in (file, f"h94/IP-Adapter-FaceID/{name}.bin"):
        with pytest.raises(ModelError, match=r"reads faces by another network .*; choose a plus-"):
            check_image_prompts(config_of(spelled))


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
        (_face_id, r"\(FaceID, InstantID\), which streamcam does not run; choose a plus-face"),
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
