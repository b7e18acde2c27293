"""LoRAs for Wan: applied by every trainer's names, in the layers that are here, or refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import lora_conversion_utils as diffusers_loras
from safetensors.torch import save_file
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.settings.config_layers import build_config
from streamcam.video.wan_checkpoint import fetch, load_components, load_transformer
from tests.support.loras import RANK, pair
from tests.video.wan_layouts import save_pipeline

CPU = torch.device("cpu")
WIDTH, LAYERS = 48, 3
QUERY = "blocks.1.attn1.to_q"


def loaded(
    lora: Path | None,
    layers: range | None = None,
    lines: list[str] | None = None,
    model: Path | str = "random:tiny-wan",
) -> Any:
    """Return the weights of the transformer, or of some of its layers."""
    settings: dict[str, Any] = {"pipeline": "video", "model": str(model), "offline": True}
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


LINEARS = {
    **{f"{attn}.{name}": (WIDTH, WIDTH) for attn in ("self_attn", "cross_attn") for name in "qkvo"},
    "ffn.0": (96, WIDTH),
    "ffn.2": (WIDTH, 96),
}
"""Shapes of the linear layers of a block, by their published names."""


def everywhere(spell: Callable[[int, str], str], **kinds: str) -> dict[str, Tensor]:
    """Return a LoRA for all linear layers, with the names of its kinds of tensors."""
    tensors, generator = {}, torch.Generator().manual_seed(1)
    for seed, (block, name) in enumerate((i, n) for i in range(LAYERS) for n in LINEARS):
        shape, layer = LINEARS[name], spell(block, name)
        a, b = pair(shape, seed)
        tensors |= {f"{layer}.{kinds['a']}.weight": a, f"{layer}.{kinds['b']}.weight": b}
        if "alpha" in kinds:
            tensors[f"{layer}.{kinds['alpha']}"] = torch.tensor(2.0)
        if "bias" in kinds:
            tensors[f"{layer}.{kinds['bias']}"] = torch.randn(shape[0], generator=generator)
    return tensors


def lightx2v() -> dict[str, Tensor]:
    def name(block: int, layer: str) -> str:
        return f"diffusion_model.blocks.{block}.{layer}"

    kinds = {"a": "lora_down", "b": "lora_up", "alpha": "alpha", "bias": "diff_b"}
    return everywhere(name, **kinds)


def causvid() -> dict[str, Tensor]:
    tensors = lightx2v()
    for name, shape in {
        "time_projection.1": (6 * WIDTH, WIDTH),
        "text_embedding.0": (WIDTH, 32),
        "text_embedding.2": (WIDTH, WIDTH),
        "head.head": (64, WIDTH),
    }.items():
        a, b = pair(shape)
        layer = f"diffusion_model.{name}"
        tensors |= {f"{layer}.lora_down.weight": a, f"{layer}.lora_up.weight": b}
    return tensors


def musubi() -> dict[str, Tensor]:
    def name(block: int, layer: str) -> str:
        return f"lora_unet_blocks_{block}_{layer.replace('.', '_')}"

    return everywhere(name, a="lora_down", b="lora_up", alpha="alpha")


@pytest.mark.parametrize(
    ("tensors", "convert"),
    [
        (lightx2v(), diffusers_loras._convert_non_diffusers_wan_lora_to_diffusers),
        (causvid(), diffusers_loras._convert_non_diffusers_wan_lora_to_diffusers),
        (musubi(), diffusers_loras._convert_musubi_wan_lora_to_diffusers),
    ],
    ids=["LightX2V", "CausVid", "musubi-tuner"],
)
def test_a_whole_lora_changes_what_diffusers_changes(
    tensors: dict[str, Tensor], convert: Callable[..., dict[str, Tensor]], tmp_path: Path
) -> None:
    lines: list[str] = []
    save_file(tensors, tmp_path / "style.safetensors")
    plain, fused = loaded(None), loaded(tmp_path / "style.safetensors", lines=lines)
    # It changes what it is given.
    converted = convert({name: value.clone() for name, value in tensors.items()})
    expected = dict(plain)
    for name, value in converted.items():
        layer = name.removeprefix("transformer.").partition(".lora_")[0]
        if name.endswith("lora_A.weight"):
            change = converted[name.replace("lora_A", "lora_B")] @ value
            expected[f"{layer}.weight"] = plain[f"{layer}.weight"] + 0.5 * change
        elif name.endswith("lora_B.bias"):
            expected[f"{layer}.bias"] = plain[f"{layer}.bias"] + 0.5 * value
    assert len([n for n in plain if not torch.equal(plain[n], fused[n])]) >= LAYERS * len(LINEARS)
    torch.testing.assert_close(fused, expected, atol=1e-5, rtol=1e-5)
    assert len(lines) == 1  # All of its layers fit.


def test_differences_of_norms_and_of_modulation_are_added(tmp_path: Path) -> None:
    shapes = {
        "blocks.0.diff_m": (1, 6, WIDTH),
        "blocks.2.modulation.diff": (1, 6, WIDTH),
        "head.diff_m": (1, 2, WIDTH),
        "blocks.1.norm3.diff": (WIDTH,),
        "blocks.1.norm3.diff_b": (WIDTH,),
        "blocks.1.cross_attn.norm_k.diff": (WIDTH,),
        "patch_embedding.diff_b": (WIDTH,),
    }
    tensors = {f"diffusion_model.{name}": torch.full(shape, 2.0) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "style.safetensors")
    plain, fused = loaded(None), loaded(tmp_path / "style.safetensors")
    changed = {n for n in plain if not torch.equal(plain[n], fused[n])}
    assert changed == {
        "blocks.0.scale_shift_table",
        "blocks.2.scale_shift_table",
        "scale_shift_table",
        "blocks.1.norm2.weight",
        "blocks.1.norm2.bias",
        "blocks.1.attn2.norm_k.weight",
        "patch_embedding.bias",
    }
    for name in changed:
        torch.testing.assert_close(fused[name], plain[name] + 1)


@pytest.mark.parametrize("wrapper", ["", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."])
def test_the_lora_of_longlive_is_read_from_its_training_file(tmp_path: Path, wrapper: str) -> None:
    a, b = pair((WIDTH, WIDTH))
    layer = f"base_model.model.{wrapper}blocks.1.self_attn.q"
    tensors = {f"{layer}.lora_A.weight": a.bfloat16(), f"{layer}.lora_B.weight": b.bfloat16()}
    critic = {f"{layer}.lora_A.weight": a + 1, f"{layer}.lora_B.weight": b}
    torch.save(
        {"generator_lora": tensors, "critic_lora": critic, "step": 3000}, tmp_path / "lora.pt"
    )
    plain, fused = loaded(None), loaded(tmp_path / "lora.pt")
    change = 0.5 * b.bfloat16().float() @ a.bfloat16().float()
    torch.testing.assert_close(fused[f"{QUERY}.weight"], plain[f"{QUERY}.weight"] + change)
    assert [n for n in plain if not torch.equal(plain[n], fused[n])] == [f"{QUERY}.weight"]


def test_the_alpha_in_the_config_of_a_peft_adapter_counts(tmp_path: Path) -> None:
    a, b = pair((WIDTH, WIDTH))
    layer = "base_model.model.blocks.1.self_attn.q"
    save_file(
        {f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b},
        tmp_path / "adapter_model.safetensors",
    )
    (tmp_path / "adapter_config.json").write_text('{"r": 4, "lora_alpha": 2, "peft_type": "LORA"}')
    plain, fused = loaded(None), loaded(tmp_path)
    expected = plain[f"{QUERY}.weight"] + 0.5 * (2 / RANK) * b @ a
    torch.testing.assert_close(fused[f"{QUERY}.weight"], expected)


class Harm:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("harmed"),)


def test_code_in_a_pickled_lora_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"generator_lora": Harm()}, tmp_path / "lora.pt")
    with pytest.raises(ModelError, match=r"more than weights, which could run code; get it as"):
        loaded(tmp_path / "lora.pt")
    assert not (tmp_path / "harmed").exists()


def test_a_lora_reaches_a_model_in_diffusers_layout_too(tmp_path: Path) -> None:
    model = save_pipeline(tmp_path / "wan")
    file = save(tmp_path / "style.safetensors", {"blocks.1.self_attn.q": "peft"})
    plain, fused = (loaded(lora, model=model) for lora in (None, file))
    a, b = pair((WIDTH, WIDTH))
    torch.testing.assert_close(fused[f"{QUERY}.weight"], plain[f"{QUERY}.weight"] + 0.5 * b @ a)


def test_a_lora_for_a_larger_wan_is_refused_by_its_shapes(tmp_path: Path) -> None:
    a, b = pair((5120, 5120))
    names = [f"diffusion_model.blocks.{i}.self_attn.q" for i in range(40)]
    tensors = {f"{name}.lora_down.weight": a.clone() for name in names}
    tensors |= {f"{name}.lora_up.weight": b.clone() for name in names}
    save_file(tensors, tmp_path / "large.safetensors")
    with pytest.raises(ModelError) as refused:
        loaded(tmp_path / "large.safetensors")
    assert "gets 5120x5120 where the model has 48x48; choose one" in str(refused.value)
    assert "\n" not in str(refused.value)
