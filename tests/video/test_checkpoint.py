"""Video models from disk: whole folders, published files, and what is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from streamcam.config import build
from streamcam.errors import ConfigError, ModelError
from streamcam.video.checkpoint import Parts, fetch, load_parts
from streamcam.video.files import read, weights_file
from streamcam.video.models import load_models
from streamcam.video.taehv import TAEHV
from streamcam.video.text import TextEncoder
from tests.layouts import truncate
from tests.video.goldens import golden, needs_goldens, wan
from tests.video.layouts import save_base, save_pipeline

CPU = torch.device("cpu")
Load = Callable[..., tuple[Parts, list[str]]]


def load(model: Path | str, **settings: Any) -> tuple[Parts, list[str]]:
    said: list[str] = []
    config = build([{"pipeline": "video", "model": str(model), "offline": True} | settings])
    return load_parts(config, torch.float32, CPU, said.append), said


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return the folder of a published transformer, its weights still to be written."""
    config = golden("dit_tiny_weights")[1]["config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_folder_in_diffusers_layout_is_all_there_is_to_it(tmp_path: Path) -> None:
    parts, said = load(save_pipeline(tmp_path))
    assert said == [f"model {tmp_path}: Wan, 3 layers of 48, 0.0 billion weights"]
    assert not any(p.requires_grad for p in parts.transformer.parameters())
    cat, dog = parts.encode_text("a cat"), parts.encode_text("the  dog")
    assert cat.shape == (1, 512, 32)
    assert [int((x != 0).any(-1).sum()) for x in (cat, dog)] == [3, 3]
    assert not torch.equal(cat, dog)


@needs_goldens
@pytest.mark.parametrize("wrapped", ["generator_ema", "generator", "state_dict", ""])
def test_published_files_are_found_in_whatever_wraps_them(
    published: Path, base: Path, wrapped: str
) -> None:
    weights, _ = golden("dit_tiny_weights")
    prefix = "model." if wrapped.startswith("generator") else ""
    named = {f"{prefix}{name}": value for name, value in weights.items()}
    torch.save({wrapped: named, "step": 7} if wrapped else named, published / "model.pt")
    parts, _ = load(published, video_base=str(base))
    expected = wan().transformer.state_dict()
    found = parts.transformer.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@needs_goldens
def test_autoencoders_may_be_published_files(published: Path, base: Path, tmp_path: Path) -> None:
    save_file(golden("dit_tiny_weights")[0], published / "wan.safetensors")
    torch.save(golden("vae_tiny_weights")[0], tmp_path / "Wan2.1_VAE.pth")
    torch.save(TAEHV().state_dict(), tmp_path / "taew2_1.pth")
    parts, _ = load(
        published / "wan.safetensors",
        video_base=str(base),
        vae=str(tmp_path / "Wan2.1_VAE.pth"),
        taehv=str(tmp_path / "taew2_1.pth"),
        video_decoder="taehv",
    )
    assert parts.vae.config.base_dim == 6
    assert isinstance(parts.taehv, TAEHV)


class Harm:
    """What must not run when a file is read."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("harmed"),)


def test_code_in_a_pickled_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"generator": Harm()}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"more than weights, which could run code; get it as"):
        read(tmp_path / "model.pt")
    assert not (tmp_path / "harmed").exists()


@needs_goldens
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str) -> None:
    weights, path = golden("dit_tiny_weights")[0], tmp_path / f"a.{suffix}"
    torch.save(weights, path) if suffix == "pt" else save_file(weights, path)
    truncate(path)
    with pytest.raises(ModelError, match=rf"a\.{suffix}"):
        read(path)


@needs_goldens
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.modulation": None}, "lack scale_shift_table"),
        ({"blocks.3.ffn.0.weight": None}, r"lack blocks.3.ffn.net.0.proj.weight"),
        ({"blocks.1.ffn.0.weight": torch.zeros(3, 3)}, "misshape blocks.1"),
        ({"extra.weight": torch.zeros(3)}, "also hold extra.weight"),
        ({"head.head.weight": None}, "not the weights of a Wan transformer"),
        ({"patch_embedding.weight": torch.zeros(128, 36, 1, 2, 2)}, "starts from an image"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_line(
    published: Path, base: Path, change: dict[str, Any], message: str
) -> None:
    weights = golden("dit_tiny_weights")[0] | change
    save_file({n: w for n, w in weights.items() if w is not None}, published / "a.safetensors")
    with pytest.raises(ModelError, match=message) as refused:
        load(published / "a.safetensors", video_base=str(base))
    assert str(refused.value).startswith(f"{published / 'a.safetensors'}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["nowhere", "USER/REPO", "/nowhere/model.pt"])
def test_a_name_of_nothing_is_refused_with_what_a_name_may_be(name: str) -> None:
    with pytest.raises(ModelError, match=r"USER/REPO/FILE"):
        weights_file(name, offline=True)


def test_a_folder_of_several_files_needs_a_choice(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match="holds 2 files of weights; name the one to load"):
        weights_file(str(tmp_path), offline=True)


def test_a_random_model_of_no_known_name_is_refused() -> None:
    with pytest.raises(ModelError, match=r'no random video model "tiny-van": did you mean'):
        load("random:tiny-van")


def test_an_engine_that_video_cannot_have_is_refused() -> None:
    config = build([{"pipeline": "video", "model": "random:tiny-wan", "acceleration": "openvino"}])
    with pytest.raises(ConfigError, match="pipeline=video runs auto or eager or compiled"):
        load_models(config)


def test_a_text_encoder_that_lacks_weights_is_refused(base: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file

    shutil.copytree(base, tmp_path / "a")
    file = tmp_path / "a" / "text_encoder" / "model.safetensors"
    weights = {n: w for n, w in load_file(file).items() if "block.1.layer.0" not in n}
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match="lacks"):
        TextEncoder(tmp_path / "a", CPU)


def test_what_is_to_be_fetched_is_looked_for_by_name(tmp_path: Path) -> None:
    said: list[str] = []
    save_pipeline(tmp_path / "wan")
    fetch(build([{"pipeline": "video", "model": str(tmp_path / "wan")}]), said.append)
    assert said == [f"{tmp_path / 'wan'} is ready"]
    lacking = {"pipeline": "video", "model": str(tmp_path / "wan"), "video_decoder": "taehv"}
    with pytest.raises(ModelError, match="elsewhere"):
        fetch(build([lacking, {"taehv": "elsewhere.pth"}]), said.append)
