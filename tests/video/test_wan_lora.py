"""LoRAs for Wan: applied by every trainer's names, in the layers that are here, or refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from streamcam.errors import ModelError
from streamcam.settings.config_layers import build_config
from streamcam.video.wan_checkpoint import fetch, load_components, load_transformer
from tests.support.loras import RANK, pair

CPU = torch.device("cpu")
WIDTH, LAYERS = 48, 3
QUERY = "blocks.1.attn1.to_q"


def loaded(lora: Path | None, layers: range | None = None, lines: list[str] | None = None) -> Any:
    """Return the weights of the transformer, or of some of its layers."""
    settings: dict[str, Any] = {"pipeline": "video", "model": "random:tiny-wan"}
    config = build_config([settings, {"lora": [f"{lora}:0.5"]} if lora else {}])
    model = load_transformer(
        config,
        torch.float32,
        CPU,
        lambda count: layers or range(count),
        ([] if lines is None else lines).append,
    )
    return model.state_dict()


def save(file: Path, names: dict[str, str]) -> Path:
    """Write a LoRA with these names of layers, and of the tensors in each."""
    a, b = pair((WIDTH, WIDTH))
    tensors = {}
    for name, kind in names.items():
        down, up = ("lora_A", "lora_B") if kind == "peft" else ("lora_down", "lora_up")
        tensors |= {f"{name}.{down}.weight": a.clone(), f"{name}.{up}.weight": b.clone()}
    save_file(tensors, file)
    return file


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (f"transformer.{QUERY}", "peft"),
        ("diffusion_model.blocks.1.self_attn.q", "peft"),
        ("blocks.1.self_attn.q", "peft"),
        ("lora_unet_blocks_1_self_attn_q", "kohya"),
    ],
)
def test_a_lora_of_any_trainer_adds_its_product(tmp_path: Path, name: str, kind: str) -> None:
    plain, fused = loaded(None), loaded(save(tmp_path / "style.safetensors", {name: kind}))
    changed = {n for n in plain if not torch.equal(plain[n], fused[n])}
    assert changed == {f"{QUERY}.weight"}
    a, b = pair((WIDTH, WIDTH))
    torch.testing.assert_close(fused[f"{QUERY}.weight"], plain[f"{QUERY}.weight"] + 0.5 * b @ a)


def test_each_of_several_devices_fuses_its_own_layers(tmp_path: Path) -> None:
    names = dict.fromkeys([f"transformer.blocks.{i}.attn1.to_q" for i in range(LAYERS)], "peft")
    file = save(tmp_path / "style.safetensors", names)
    whole = loaded(file)
    for layers in (range(1), range(1, LAYERS)):
        lines: list[str] = []
        part = loaded(file, layers, lines)
        for index, layer in enumerate(layers):
            name = "attn1.to_q.weight"
            expected = whole[f"blocks.{layer}.{name}"]
            torch.testing.assert_close(part[f"blocks.{index}.{name}"], expected)
        assert lines == [f"LoRA {file}, scale 0.5"]  # All layers fit, here or elsewhere.


def test_a_lora_that_fits_in_part_is_said_to(tmp_path: Path) -> None:
    names = dict.fromkeys([f"blocks.{i}.self_attn.q" for i in (1, 7)], "peft")
    lines: list[str] = []
    loaded(save(tmp_path / "style.safetensors", names), lines=lines)
    said = "1 of 2 layers fit this Wan model, which has no blocks.7.self_attn.q"
    assert lines[-1] == f"LoRA style.safetensors: {said}"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["lora_unet_down_blocks_0_attentions_0_proj_in"], "has no layers that this Wan model has"),
        (["blocks.0.self_attn.q", "lora_te_text_model_x"], "layers of the text encoder"),
        (["blocks.0.ffn.0"], "does not fit this Wan model: blocks.0.ffn.net.0.proj gets 48x48"),
    ],
)
def test_a_lora_for_another_model_is_refused(tmp_path: Path, names: list[str], said: str) -> None:
    file = save(tmp_path / "style.safetensors", dict.fromkeys(names, "peft"))
    with pytest.raises(ModelError, match=said):
        loaded(file)


def test_a_missing_lora_is_refused_before_and_after_it_is_fetched(tmp_path: Path) -> None:
    missing = {"lora": [str(tmp_path / "style.safetensors")], "offline": True}
    config = build_config([{"pipeline": "video", "model": "random:tiny-wan"}, missing])
    with pytest.raises(ModelError, match="no file or folder here"):
        fetch(config, lambda _: None)
    with pytest.raises(ModelError, match="no file or folder here"):
        load_components(config, torch.float32, CPU, lambda _: None)


def test_the_rank_of_a_lora_scales_its_alpha(tmp_path: Path) -> None:
    a, b = pair((WIDTH, WIDTH))
    name = "lora_unet_blocks_1_self_attn_q"
    tensors = {
        f"{name}.lora_down.weight": a,
        f"{name}.lora_up.weight": b,
        f"{name}.alpha": torch.tensor(2.0),
    }
    save_file(tensors, tmp_path / "style.safetensors")
    plain, fused = loaded(None), loaded(tmp_path / "style.safetensors")
    expected = plain[f"{QUERY}.weight"] + 0.5 * (2 / RANK) * b @ a
    torch.testing.assert_close(fused[f"{QUERY}.weight"], expected)
