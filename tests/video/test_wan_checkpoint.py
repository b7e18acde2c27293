"""Video models from disk: whole folders, published files, and damaged ones."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamcam.errors import ConfigError, ModelError
from streamcam.settings.config_layers import build_config
from streamcam.video.random_wan import random_transformer
from streamcam.video.taehv import TAEHV
from streamcam.video.umt5 import TextEncoder
from streamcam.video.video_model import load_video_model
from streamcam.video.wan_checkpoint import WanComponents, fetch, load_components, load_transformer
from streamcam.video.wan_files import FolderWeights, read_weights, weights_file
from streamcam.video.wan_weights import unwrap
from tests.support.layouts import truncate
from tests.video.video_goldens import golden, needs_goldens, wan
from tests.video.wan_layouts import published_weights, save_base, save_pipeline

CPU = torch.device("cpu")
Load = Callable[..., tuple[WanComponents, list[str]]]


def load(model: Path | str, **settings: Any) -> tuple[WanComponents, list[str]]:
    reported: list[str] = []
    config = build_config([{"pipeline": "video", "model": str(model), "offline": True} | settings])
    return load_components(config, torch.float32, CPU, reported.append), reported


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Return the folder of a published transformer, without its weights."""
    config = golden("dit_tiny_weights")[1]["config"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


def test_a_folder_in_diffusers_layout_loads_without_other_files(tmp_path: Path) -> None:
    components, reported = load(save_pipeline(tmp_path))
    assert reported == [f"model {tmp_path}: Wan, 3 layers of 48, 0.0 billion weights"]
    assert not any(p.requires_grad for p in components.transformer.parameters())
    cat, dog = components.encode_text("a cat"), components.encode_text("the  dog")
    assert cat.shape == (1, 512, 32)
    assert [int((x != 0).any(-1).sum()) for x in (cat, dog)] == [3, 3]
    assert not torch.equal(cat, dog)


@needs_goldens
@pytest.mark.parametrize(
    ("wrapped", "prefix"),
    [
        pytest.param("generator_ema", "model.", id="Self-Forcing"),
        pytest.param("generator_ema", "model._fsdp_wrapped_module.", id="Causal-Forcing framewise"),
        pytest.param("generator", "model.", id="Causal-Forcing chunkwise, LongLive"),
        pytest.param("generator", "_orig_mod.model.", id="compiled"),
        pytest.param("state_dict", "module.", id="several devices"),
        ("state_dict", ""),
        ("", "model.diffusion_model."),
        ("", "net."),
        ("", ""),
    ],
)
def test_published_weights_load_with_any_wrapper(
    published: Path, base: Path, wrapped: str, prefix: str
) -> None:
    weights, _ = golden("dit_tiny_weights")
    # Checkpointed blocks have one more wrapper each.
    mark = "_checkpoint_wrapped_module." if wrapped == "generator" else ""
    named = {
        prefix + re.sub(r"^(blocks\.\d+\.)", rf"\1{mark}", name): value
        for name, value in weights.items()
    }
    torch.save({wrapped: named, "step": 7} if wrapped else named, published / "model.pt")
    components, _ = load(published, video_base=str(base))
    expected = wan().transformer.state_dict()
    actual = components.transformer.state_dict()
    assert all(torch.equal(actual[name], value) for name, value in expected.items())


def test_the_average_of_a_training_is_preferred_to_its_last_weights() -> None:
    last, average = ({"model.head.weight": torch.full((1,), value)} for value in (1.0, 2.0))
    assert unwrap({"generator": last, "generator_ema": average})["head.weight"] == 2
    assert unwrap({"generator": last, "generator_ema": {}})["head.weight"] == 1


@needs_goldens
def test_autoencoders_may_be_published_files(published: Path, base: Path, tmp_path: Path) -> None:
    save_file(golden("dit_tiny_weights")[0], published / "wan.safetensors")
    torch.save(golden("vae_tiny_weights")[0], tmp_path / "Wan2.1_VAE.pth")
    torch.save(TAEHV().state_dict(), tmp_path / "taew2_1.pth")
    components, _ = load(
        published / "wan.safetensors",
        video_base=str(base),
        vae=str(tmp_path / "Wan2.1_VAE.pth"),
        taehv=str(tmp_path / "taew2_1.pth"),
        video_decoder="taehv",
    )
    assert components.vae.config.base_dim == 6
    assert isinstance(components.taehv, TAEHV)


@pytest.mark.parametrize(
    ("folder", "layers", "dim"),
    [("wan_causal_dmd_v2v", 3, 256), ("wan_causal_dmd_v2v_14b", 4, 640)],
)
def test_published_folders_load_by_name(
    folder: str, layers: int, dim: int, base: Path, tmp_path: Path
) -> None:
    weights = published_weights(layers, dim)
    (tmp_path / folder).mkdir()
    torch.save(
        {"generator": {f"model.{n}": w for n, w in weights.items()}, "step": 1},
        tmp_path / folder / "model.pt",
    )
    save_file(weights, tmp_path / "krea-realtime-video-14b.safetensors")
    pickled, reported = load(tmp_path / folder, video_base=str(base))
    plain, _ = load(tmp_path / "krea-realtime-video-14b.safetensors", video_base=str(base))
    assert f"Wan, {layers} layers of {dim}" in reported[0]
    assert pickled.transformer.config.num_attention_heads == dim // 128
    assert torch.equal(
        pickled.transformer.blocks[layers - 1].ffn.net[2].weight,
        weights[f"blocks.{layers - 1}.ffn.2.weight"],
    )
    actual = plain.transformer.state_dict()
    assert all(torch.equal(actual[n], w) for n, w in pickled.transformer.state_dict().items())


@pytest.mark.parametrize("shards", [1, 3])
def test_only_the_layers_of_a_rank_are_read_from_a_folder(
    shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pipeline(tmp_path)
    whole = random_transformer("tiny-wan", torch.float32, CPU)
    if shards > 1:
        shutil.rmtree(tmp_path / "transformer")
        whole.save_pretrained(tmp_path / "transformer", max_shard_size="100KB")
        assert len(list((tmp_path / "transformer").glob("*.safetensors"))) >= shards
    read: list[str] = []
    get = FolderWeights.__getitem__
    monkeypatch.setattr(
        FolderWeights, "__getitem__", lambda s, name: (read.append(name), get(s, name))[1]
    )
    config = build_config([{"pipeline": "video", "model": str(tmp_path), "offline": True}])
    actual = load_transformer(config, torch.float32, CPU, lambda count: range(count - 1, count))
    assert actual.config.num_layers == len(actual.blocks) == 1
    assert not any(name.startswith(("blocks.0.", "blocks.1.")) for name in read)
    for name, value in whole.blocks[2].state_dict().items():
        assert torch.equal(actual.blocks[0].state_dict()[name], value)


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    save_pipeline(tmp_path)
    file = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    del weights["blocks.1.attn2.to_q.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"transformer: the weights lack blocks\.1\.attn2\.to_q"):
        load(tmp_path)
    file.unlink()
    with pytest.raises(ModelError, match=r"cannot load the transformer in .*transformer"):
        load(tmp_path)


class Harm:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("harmed"),)


def test_code_in_a_pickled_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"generator": Harm()}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"more than weights, which could run code; get it as"):
        read_weights(tmp_path / "model.pt")
    assert not (tmp_path / "harmed").exists()


@needs_goldens
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str) -> None:
    weights, path = golden("dit_tiny_weights")[0], tmp_path / f"a.{suffix}"
    torch.save(weights, path) if suffix == "pt" else save_file(weights, path)
    truncate(path)
    with pytest.raises(ModelError, match=rf"a\.{suffix}"):
        read_weights(path)


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
def test_an_unknown_name_is_refused_with_the_forms_that_a_name_may_take(name: str) -> None:
    with pytest.raises(ModelError, match=r"USER/REPO/FILE"):
        weights_file(name, offline=True)


def test_a_folder_of_several_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).touch()
    with pytest.raises(ModelError, match="holds 2 files of weights; name the one to load"):
        weights_file(str(tmp_path), offline=True)


def test_a_lora_in_the_place_of_a_model_is_refused_with_the_flag_for_it(tmp_path: Path) -> None:
    lora = {"base_model.model.blocks.0.self_attn.q.lora_A.weight": torch.zeros(4, 48)}
    torch.save({"generator_lora": lora}, tmp_path / "lora.pt")
    with pytest.raises(ModelError, match=r"lora\.pt: this is a LoRA, .*: name it with --lora"):
        load(tmp_path / "lora.pt", video_base=str(save_base(tmp_path / "base")))


def test_an_unknown_random_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r'no random video model "tiny-van": did you mean'):
        load("random:tiny-van")


def test_an_engine_that_video_does_not_support_is_refused() -> None:
    settings = {"pipeline": "video", "model": "random:tiny-wan", "acceleration": "openvino"}
    with pytest.raises(ConfigError, match="video runs acceleration auto, eager, graph, compiled"):
        build_config([settings])


def test_a_dtype_that_video_does_not_support_is_refused() -> None:
    config = build_config([{"pipeline": "video", "model": "random:tiny-wan", "dtype": "float8"}])
    with pytest.raises(ConfigError, match="does not compute in float8: leave dtype out"):
        load_video_model(config)


def test_a_text_encoder_that_lacks_weights_is_refused(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "a")
    file = tmp_path / "a" / "text_encoder" / "model.safetensors"
    weights = {n: w for n, w in load_file(file).items() if "block.1.layer.0" not in n}
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ModelError, match="lacks"):
        TextEncoder(tmp_path / "a", CPU)


def test_files_to_fetch_are_found_by_name(tmp_path: Path) -> None:
    reported: list[str] = []
    save_pipeline(tmp_path / "wan")
    fetch(build_config([{"pipeline": "video", "model": str(tmp_path / "wan")}]), reported.append)
    assert reported == [f"{tmp_path / 'wan'} is ready"]
    lacking = {"pipeline": "video", "model": str(tmp_path / "wan"), "video_decoder": "taehv"}
    with pytest.raises(ModelError, match="elsewhere"):
        fetch(build_config([lacking, {"taehv": "elsewhere.pth"}]), reported.append)


def test_tokens_that_the_text_encoder_has_no_room_for_are_said(tmp_path: Path) -> None:
    components, reported = load(save_pipeline(tmp_path))
    reported.clear()
    components.encode_text("cat " * 511)
    assert reported == []
    components.encode_text("cat " * 514)
    [line] = reported
    assert line.startswith("the last 3 tokens of the prompt are not read, as this model reads 512")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path)
    (file,) = (folder / "transformer").glob("*.safetensors")
    weights = load_file(file)
    weights["proj_out.weight"][0, 0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"no numbers \(NaN\), first in proj_out.weight"):
        load(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no fifos")
@pytest.mark.parametrize(
    "file", ["transformer/config.json", "text_encoder/config.json", "tokenizer/tokenizer.json"]
)
def test_a_fifo_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path, file: str) -> None:
    folder = save_pipeline(tmp_path)
    (folder / file).unlink()
    os.mkfifo(folder / file)
    with pytest.raises(ModelError, match="pipe"):
        load(folder)
