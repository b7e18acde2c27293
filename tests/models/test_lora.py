"""LoRAs: what fusing does to the weights, and which ones are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from streamcam.errors import ModelError
from streamcam.models.checkpoint import load_pipeline
from streamcam.models.lora_file import read_lora
from streamcam.settings.config_layers import build_config
from tests.support.layouts import truncate
from tests.support.loras import (
    RANK,
    TEXT_MLP,
    TEXT_OUT,
    UNET_KEY,
    UNET_QUERY,
    Pair,
    pair,
    save_kohya,
    save_peft,
)

Folder = Callable[[str], Path]
Weights = dict[str, torch.Tensor]


def loaded(model: Path, lines: list[str] | None = None, **settings: Any) -> Any:
    """Return the pipeline that is loaded for `model` with `settings`."""
    fused = {"vae": "full", "use_lcm_lora": False, "live_loras": False}
    config = build_config([{"model": str(model)} | fused, settings])
    return load_pipeline(config, torch.float32, (lines if lines is not None else []).append)


def weights(pipe: Any) -> Weights:
    """Return the weights of the U-Net and of the text encoder under plain names."""
    unet = {f"unet.{name}": w for name, w in pipe.unet.state_dict().items()}
    text = {
        f"text.{name.removeprefix('text_model.')}": w
        for name, w in pipe.text_encoder.state_dict().items()
    }
    return unet | text


def changed(before: Weights, after: Weights) -> set[str]:
    """Return the names of the weights that differ."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.fixture(scope="module")
def plain(model_folder: Folder) -> Weights:
    return weights(loaded(model_folder("sd-turbo")))


@pytest.fixture(scope="module")
def pairs(plain: Weights) -> dict[str, Pair]:
    """A and B for two layers of the U-Net."""
    layers = (UNET_QUERY, UNET_KEY)
    return {
        layer: pair(plain[f"unet.{layer}.weight"].shape, seed) for seed, layer in enumerate(layers)
    }


def test_a_peft_lora_adds_its_product_times_the_scale(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    file = save_peft(tmp_path / "style.safetensors", pairs)
    fused = weights(loaded(model_folder("sd-turbo"), lora=f'{{"{file}": 0.7}}'))
    assert changed(plain, fused) == {f"unet.{layer}.weight" for layer in pairs}
    for layer, (a, b) in pairs.items():
        name = f"unet.{layer}.weight"
        torch.testing.assert_close(fused[name], plain[name] + 0.7 * b @ a)


def test_a_peft_lora_may_have_its_alpha_in_its_metadata(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    file = save_peft(tmp_path / "style.safetensors", pairs, alpha=8.0)
    fused = weights(loaded(model_folder("sd-turbo"), lora=[str(file)]))
    a, b = pairs[UNET_KEY]
    name = f"unet.{UNET_KEY}.weight"
    torch.testing.assert_close(fused[name], plain[name] + 8.0 / RANK * b @ a)


def test_a_kohya_lora_adds_its_product_times_alpha_over_rank(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    file = save_kohya(tmp_path / "style.safetensors", pairs, alpha=2.0)
    fused = weights(loaded(model_folder("sd-turbo"), lora=[f"{file}:0.5"]))
    assert changed(plain, fused) == {f"unet.{layer}.weight" for layer in pairs}
    for layer, (a, b) in pairs.items():
        name = f"unet.{layer}.weight"
        torch.testing.assert_close(fused[name], plain[name] + 0.5 * (2.0 / RANK) * b @ a)


def test_alphas_may_differ_from_layer_to_layer(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    text = {layer: pair(plain[f"text.{layer}.weight"].shape) for layer in (TEXT_OUT, TEXT_MLP)}
    alphas = {UNET_QUERY: 1.0, UNET_KEY: 2.0, TEXT_OUT: 3.0, TEXT_MLP: 8.0}
    file = save_kohya(tmp_path / "style.safetensors", pairs, text, alpha=alphas)
    fused = weights(loaded(model_folder("sd-turbo"), lora=[str(file)]))
    for prefix, layers in (("unet", pairs), ("text", text)):
        for layer, (a, b) in layers.items():
            name = f"{prefix}.{layer}.weight"
            expected = plain[name] + alphas[layer] / RANK * b @ a
            torch.testing.assert_close(fused[name], expected, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_lora_may_be_of_any_float_and_lack_its_alpha(
    pairs: dict[str, Pair], tmp_path: Path, dtype: torch.dtype
) -> None:
    a, b = pairs[UNET_KEY]
    name = kohya_name(UNET_KEY)
    tensors = {f"{name}.lora_down.weight": a.to(dtype), f"{name}.lora_up.weight": b.to(dtype)}
    save_file(tensors, tmp_path / "style.safetensors")
    read = read_lora(tmp_path / "style.safetensors")
    assert torch.equal(read.layers[name]["down"], a.to(dtype).float())
    assert torch.equal(read.layers[name]["up"], b.to(dtype).float())
    assert read.scale_of("unet", UNET_KEY, read.layers[name], RANK) == 1


def test_scale_0_changes_nothing(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    file = save_peft(tmp_path / "style.safetensors", pairs)
    fused = weights(loaded(model_folder("sd-turbo"), lora=[f"{file}:0"]))
    assert changed(plain, fused) == set()


def test_a_negative_scale_takes_away(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    file = save_peft(tmp_path / "style.safetensors", pairs)
    fused = weights(loaded(model_folder("sd-turbo"), lora=[f"{file}:-1"]))
    a, b = pairs[UNET_KEY]
    name = f"unet.{UNET_KEY}.weight"
    torch.testing.assert_close(fused[name], plain[name] - b @ a)


def test_two_loras_add_up_each_with_its_scale(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    one = save_peft(tmp_path / "one.safetensors", pairs)
    other = {layer: pair((b.shape[0], a.shape[1]), 7) for layer, (a, b) in pairs.items()}
    two = save_kohya(tmp_path / "two.safetensors", other, alpha=RANK)
    fused = weights(loaded(model_folder("sd-turbo"), lora_dict={str(one): 0.5, str(two): 0.25}))
    for layer, (a, b) in pairs.items():
        name, (c, d) = f"unet.{layer}.weight", other[layer]
        torch.testing.assert_close(fused[name], plain[name] + 0.5 * b @ a + 0.25 * d @ c)


@pytest.mark.parametrize("kind", ["peft", "kohya"])
def test_a_lora_reaches_the_text_encoder(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path, kind: str
) -> None:
    name = f"text.{TEXT_OUT}.weight"
    text = {TEXT_OUT: pair(plain[name].shape, 3)}
    file = tmp_path / "style.safetensors"
    save_peft(file, pairs, text) if kind == "peft" else save_kohya(file, pairs, text, alpha=RANK)
    fused = weights(loaded(model_folder("sd-turbo"), lora=[f"{file}:0.5"]))
    a, b = text[TEXT_OUT]
    torch.testing.assert_close(fused[name], plain[name] + 0.5 * b @ a)
    assert changed(plain, fused) == {name} | {f"unet.{layer}.weight" for layer in pairs}


def test_a_lora_for_the_text_encoder_alone_is_fused(
    model_folder: Folder, plain: Weights, tmp_path: Path
) -> None:
    name = f"text.{TEXT_OUT}.weight"
    text = {TEXT_OUT: pair(plain[name].shape, 3)}
    file = save_kohya(tmp_path / "style.safetensors", {}, text, alpha=RANK)
    fused = weights(loaded(model_folder("sd-turbo"), lora=[str(file)]))
    assert changed(plain, fused) == {name}


@pytest.mark.parametrize("model", ["sd-1.5", "sdxl"])
def test_loras_fit_the_other_families(model_folder: Folder, tmp_path: Path, model: str) -> None:
    plain = weights(loaded(model_folder(model)))
    name = f"unet.{UNET_QUERY}.weight"
    pairs = {UNET_QUERY: pair(plain[name].shape)}
    file = save_kohya(tmp_path / "style.safetensors", pairs, alpha=RANK)
    fused = weights(loaded(model_folder(model), lora=[str(file)]))
    a, b = pairs[UNET_QUERY]
    torch.testing.assert_close(fused[name], plain[name] + b @ a)


def test_a_lora_may_be_the_one_file_of_a_folder(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    save_peft(tmp_path / "whatever.safetensors", pairs)
    fused = weights(loaded(model_folder("sd-turbo"), lora=[str(tmp_path)]))
    assert changed(plain, fused) == {f"unet.{layer}.weight" for layer in pairs}


def refusal(model: Path, lora: Path, **settings: Any) -> str:
    """Return the one line in which a LoRA is refused."""
    with pytest.raises(ModelError) as refused:
        loaded(model, **{"lora": [str(lora)]} | settings)
    line = str(refused.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("save", [save_peft, lambda file, unet: save_kohya(file, unet, alpha=1.0)])
def test_a_lora_for_another_base_model_is_refused_with_both_named(
    model_folder: Folder, tmp_path: Path, save: Callable[..., Path]
) -> None:
    file = save(tmp_path / "style.safetensors", {UNET_KEY: pair((16, 768))})
    line = refusal(model_folder("sd-turbo"), file)
    assert f"LoRA {file} is for another base model" in line
    assert "texts 768 wide, this SD 2.x model to 32" in line
    assert "choose one made for SD 2.x" in line


def test_a_lora_of_another_shape_is_refused(model_folder: Folder, tmp_path: Path) -> None:
    file = save_peft(tmp_path / "style.safetensors", {UNET_QUERY: pair((320, 320))})
    line = refusal(model_folder("sd-turbo"), file)
    assert f"LoRA {file}" in line
    assert "choose one made for it" in line


@pytest.mark.parametrize("save", [save_peft, lambda file, unet: save_kohya(file, unet, alpha=1.0)])
def test_a_lora_without_matching_layers_is_refused(
    model_folder: Folder, tmp_path: Path, save: Callable[..., Path]
) -> None:
    layer = UNET_QUERY.replace("down_blocks.0", "down_blocks.7")
    file = save(tmp_path / "style.safetensors", {layer: pair((16, 16))})
    assert f"LoRA {file}" in refusal(model_folder("sd-turbo"), file)


def test_a_file_that_is_no_lora_is_refused(model_folder: Folder, tmp_path: Path) -> None:
    file = tmp_path / "style.safetensors"
    save_file({"weight": torch.zeros(2, 2)}, file)
    assert f"LoRA {file}" in refusal(model_folder("sd-turbo"), file)


def kohya_name(layer: str, prefix: str = "lora_unet_") -> str:
    return prefix + layer.replace(".", "_")


def test_a_dora_gives_the_weights_its_lengths_whatever_its_names(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    a, b = pairs[UNET_QUERY]
    name, kohya = f"unet.{UNET_QUERY}", kohya_name(UNET_QUERY)
    lengths = 1.3 * plain[f"{name}.weight"].norm(dim=1)
    spellings = (
        {
            f"{name}.lora_A.weight": a,
            f"{name}.lora_B.weight": b,
            f"{name}.lora_magnitude_vector": lengths,
        },
        {
            f"{kohya}.lora_down.weight": a,
            f"{kohya}.lora_up.weight": b,
            f"{kohya}.dora_scale": lengths[:, None],
        },
    )
    directions = plain[f"{name}.weight"] + b @ a
    expected = lengths[:, None] * directions / directions.norm(dim=1, keepdim=True)
    for number, tensors in enumerate(spellings):
        save_file(tensors, file := tmp_path / f"{number}.safetensors")
        fused = weights(loaded(model_folder("sd-turbo"), lora=[str(file)]))
        torch.testing.assert_close(fused[f"{name}.weight"], expected)


def test_a_lora_that_fits_in_part_is_said_to(
    model_folder: Folder, plain: Weights, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    foreign = {
        UNET_QUERY.replace("down_blocks.0", f"down_blocks.{i}"): pair((16, 16)) for i in "78"
    }
    file = save_kohya(tmp_path / "style.safetensors", pairs | foreign, alpha=1.0)
    lines: list[str] = []
    fused = weights(loaded(model_folder("sd-turbo"), lines, lora=[str(file)]))
    assert changed(plain, fused) == {f"unet.{layer}.weight" for layer in pairs}
    assert "LoRA style.safetensors: 2 of 4 layers fit this SD 2.x model" in lines[-1]
    assert "down_blocks_7" in lines[-1]


def test_words_that_are_bundled_with_a_lora_are_said_not_to_be_used(
    model_folder: Folder, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    a, b = pairs[UNET_QUERY]
    name = kohya_name(UNET_QUERY)
    tensors = {f"{name}.lora_down.weight": a, f"{name}.lora_up.weight": b}
    tensors["bundle_emb.mystyle.clip_l"] = torch.zeros(2, 32)
    save_file(tensors, tmp_path / "style.safetensors")
    lines: list[str] = []
    loaded(model_folder("sd-turbo"), lines, lora=[str(tmp_path / "style.safetensors")])
    assert lines[-1] == "LoRA style.safetensors: the words that are bundled with it are not used"


@pytest.mark.parametrize("prefix", ["lora_te2_text_model_", "lora_te3_"])
def test_a_lora_for_a_text_encoder_that_the_model_lacks_is_refused(
    model_folder: Folder, pairs: dict[str, Pair], tmp_path: Path, prefix: str
) -> None:
    tensors = {}
    for name in (kohya_name(UNET_QUERY), kohya_name(TEXT_OUT, prefix)):
        a, b = pairs[UNET_QUERY]
        tensors |= {f"{name}.lora_down.weight": a.clone(), f"{name}.lora_up.weight": b.clone()}
    save_file(tensors, tmp_path / "style.safetensors")
    line = refusal(model_folder("sd-turbo"), tmp_path / "style.safetensors")
    assert "for another base model: none of its layers of the" in line
    assert "text encoder is in this SD 2.x model" in line


NAME = kohya_name(UNET_QUERY)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"{NAME}.oft_blocks": (2, 4, 4)}, "holds OFT layers"),
        ({f"{NAME}.a1.weight": (4, 4)}, "holds GLoRA layers"),
        ({f"{NAME}.on_input": (1,), f"{NAME}.weight": (4,)}, "holds IA3 layers"),
        ({f"{NAME}.scales": (4,)}, "tensors of an unknown kind, such as"),
        ({f"{NAME}.lora_down.weight": (4, 16)}, "is damaged: "),
        ({f"{NAME}.hada_w1_a": (4, 16), f"{NAME}.alpha": (1,)}, "is damaged: "),
        ({"emb_params": (4, 768)}, "holds no layers, but words for the prompt"),
        ({f"{NAME}.lora_down.weight": (4, 16), f"{NAME}.lora_up.weight": (16, 3)}, "does not fit"),
        ({f"{NAME}.diff_b": (16,)}, "a bias where the model has none"),
    ],
)
def test_what_cannot_be_applied_is_refused_with_its_kind(
    model_folder: Folder, tmp_path: Path, tensors: dict[str, tuple[int, ...]], said: str
) -> None:
    file = tmp_path / "style.safetensors"
    save_file({name: torch.ones(shape) for name, shape in tensors.items()}, file)
    line = refusal(model_folder("sd-turbo"), file)
    assert f"LoRA {file}" in line
    assert said in line


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            [f"{UNET_QUERY}.lora_{part}.{n}.weight" for n in ("one", "two") for part in "AB"],
            "holds several LoRAs in one",
        ),
        (
            [f"{prefix}{UNET_QUERY}.lora_{p}.weight" for prefix in ("", "unet.") for p in "AB"],
            f"holds {UNET_QUERY} under two names",
        ),
    ],
)
def test_layers_that_are_in_a_file_twice_are_refused(
    model_folder: Folder, tmp_path: Path, names: list[str], said: str
) -> None:
    file = tmp_path / "style.safetensors"
    shapes = {"A": (RANK, 16), "B": (16, RANK)}
    of_part = {name: name.rpartition("lora_")[2][0] for name in names}
    save_file({name: torch.zeros(shapes[part]) for name, part in of_part.items()}, file)
    assert said in refusal(model_folder("sd-turbo"), file)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_lora_with_values_that_are_no_numbers_is_refused(
    model_folder: Folder, pairs: dict[str, Pair], tmp_path: Path, bad: float
) -> None:
    a, b = pairs[UNET_QUERY]
    broken = a.clone()
    broken[0, 0] = bad
    file = save_kohya(tmp_path / "style.safetensors", {UNET_QUERY: (broken, b)}, alpha=1.0)
    line = refusal(model_folder("sd-turbo"), file)
    assert f"LoRA {file} holds values that are no numbers" in line


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({"unet.lora_alpha": 8}, 8 / RANK),
        ({"unet.lora_alpha": 8, "unet.use_rslora": True}, 8 / RANK**0.5),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 2}}, 2 / RANK),
    ],
)
def test_what_peft_has_stored_about_alpha_is_read(
    model_folder: Folder,
    plain: Weights,
    pairs: dict[str, Pair],
    tmp_path: Path,
    settings: dict[str, Any],
    scale: float,
) -> None:
    a, b = pairs[UNET_QUERY]
    name = f"unet.{UNET_QUERY}"
    file = tmp_path / "style.safetensors"
    header = {"lora_adapter_metadata": json.dumps(settings)}
    save_file({f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}, file, metadata=header)
    fused = weights(loaded(model_folder("sd-turbo"), lora=[str(file)]))
    torch.testing.assert_close(fused[f"{name}.weight"], plain[f"{name}.weight"] + scale * b @ a)


def test_a_header_that_is_nested_too_deeply_is_refused(
    model_folder: Folder, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    file, (a, b) = tmp_path / "style.safetensors", pairs[UNET_QUERY]
    tensors = {f"unet.{UNET_QUERY}.lora_A.weight": a, f"unet.{UNET_QUERY}.lora_B.weight": b}
    save_file(tensors, file, metadata={"lora_adapter_metadata": "[" * 100_000})
    assert f"cannot load LoRA {file}" in refusal(model_folder("sd-turbo"), file)


def test_a_truncated_lora_is_named(
    model_folder: Folder, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    file = truncate(save_peft(tmp_path / "style.safetensors", pairs))
    line = refusal(model_folder("sd-turbo"), file)
    assert line.startswith(f"{file} is damaged or cut off")


def test_a_pickled_lora_is_refused(model_folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "style.pt").touch()
    assert "pickled" in refusal(model_folder("sd-turbo"), tmp_path / "style.pt")


def test_a_missing_lora_is_refused(model_folder: Folder, tmp_path: Path) -> None:
    line = refusal(model_folder("sd-turbo"), tmp_path / "style.safetensors")
    assert f'no model "{tmp_path}/style.safetensors": no file or folder here' in line


def test_a_folder_of_loras_needs_one_to_be_named(
    model_folder: Folder, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    save_peft(tmp_path / "one.safetensors", pairs)
    save_peft(tmp_path / "two.safetensors", pairs)
    assert "holds 2 .safetensors files; name the one" in refusal(model_folder("sd-turbo"), tmp_path)


@pytest.mark.parametrize(
    ("model", "use_lcm_lora", "fused"),
    [
        ("sd-1.5", None, True),
        ("sd-1.5", True, True),
        ("sd-1.5", False, False),
        ("sd-turbo", None, False),
        ("sd-turbo", True, True),
        ("sdxl", None, True),
        ("sdxl-turbo", None, False),
    ],
)
def test_the_lcm_lora_is_fused_where_the_model_is_not_few_step(
    model_folder: Folder, tmp_path: Path, model: str, use_lcm_lora: bool | None, fused: bool
) -> None:
    plain = weights(loaded(model_folder(model)))
    name = f"unet.{UNET_QUERY}.weight"
    a, b = pair(plain[name].shape)
    file = save_kohya(tmp_path / "lcm.safetensors", {UNET_QUERY: (a, b)}, alpha=RANK)
    lines: list[str] = []
    after = weights(
        loaded(model_folder(model), lines, use_lcm_lora=use_lcm_lora, lcm_lora_id=str(file))
    )
    expected = plain[name] + b @ a if fused else plain[name]
    torch.testing.assert_close(after[name], expected)
    assert any(line.startswith(f"LCM-LoRA {file}") for line in lines) is fused


def test_a_family_without_an_lcm_lora_is_reported(model_folder: Folder) -> None:
    lines: list[str] = []
    loaded(model_folder("sd-2.1"), lines, use_lcm_lora=None)
    assert "no LCM-LoRA is known for SD 2.x" in lines[-1]


def test_an_lcm_lora_out_of_reach_can_be_done_without(model_folder: Folder) -> None:
    with pytest.raises(ModelError) as refused:
        loaded(model_folder("sd-1.5"), use_lcm_lora=None, offline=True)
    assert "latent-consistency/lcm-lora-sdv1-5" in str(refused.value)
    assert "--set use_lcm_lora=false" in str(refused.value)
