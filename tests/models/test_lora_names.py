"""The names that trainers give to layers lead to the layers that they mean."""

from typing import Any

import pytest

from streamcam.models.lora_names import layer_names, part_of
from streamcam.models.random_models import random_pipeline
from tests.support.single_files import original_unet_names

QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
ENCODER = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def sd() -> Any:
    return random_pipeline("tiny-sd-1.5")


@pytest.fixture(scope="module")
def sdxl() -> Any:
    return random_pipeline("tiny-sdxl")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (QUERY, QUERY),
        (f"unet.{QUERY}", QUERY),
        (f"diffusion_model.{QUERY}", QUERY),
        ("lora_unet_" + QUERY.replace(".", "_"), QUERY),
        ("lycoris_" + QUERY.replace(".", "_"), QUERY),
        (f"unet.{OUT}", OUT),
        (f"unet.{OUT.removesuffix('.0')}", OUT),
        ("lora_unet_" + OUT.replace(".", "_"), OUT),
    ],
)
def test_every_trainers_name_of_a_layer_of_the_unet_is_known(sd: Any, name: str, path: str) -> None:
    layer = layer_names(sd, "sd-1")[name]
    assert (layer.part, layer.path) == ("unet", path)
    assert layer.module is sd.unet.get_submodule(path)
    assert part_of(name) == "unet"


@pytest.mark.parametrize(
    "name",
    [
        f"text_encoder.text_model.{ENCODER}",
        f"text_encoder.{ENCODER}",
        f"lora_te_text_model_{ENCODER.replace('.', '_')}",
        f"text_encoders.clip_l.transformer.text_model.{ENCODER}",
        # The first LoRAs of diffusers.
        "text_encoder.text_model.encoder.layers.0.self_attn.to_q",
    ],
)
def test_every_trainers_name_of_a_layer_of_the_text_encoder_is_known(sd: Any, name: str) -> None:
    layer = layer_names(sd, "sd-1")[name]
    assert layer.path.endswith(ENCODER)
    assert layer.part == part_of(name) == "text_encoder"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        (f"lora_te1_text_model_{ENCODER.replace('.', '_')}", "text_encoder"),
        (f"lora_te2_text_model_{ENCODER.replace('.', '_')}", "text_encoder_2"),
        ("lora_te2_text_projection", "text_encoder_2"),
        (f"text_encoder_2.text_model.{ENCODER}", "text_encoder_2"),
        (f"text_encoders.clip_g.transformer.text_model.{ENCODER}", "text_encoder_2"),
    ],
)
def test_the_two_text_encoders_are_told_apart(sdxl: Any, name: str, part: str) -> None:
    assert layer_names(sdxl, "sdxl")[name].part == part_of(name) == part


def test_the_names_of_sd_1_do_not_reach_the_text_encoders_of_sdxl(sdxl: Any) -> None:
    name = f"lora_te_text_model_{ENCODER.replace('.', '_')}"
    assert name not in layer_names(sdxl, "sdxl")


def test_the_originally_published_names_of_all_layers_are_known(sdxl: Any) -> None:
    names = layer_names(sdxl, "sdxl")
    paths = {path for path, _ in sdxl.unet.named_parameters() if path.endswith(".weight")}
    for path, original in original_unet_names(paths).items():
        layer, name = path.removesuffix(".weight"), original.removesuffix(".weight")
        assert names[f"diffusion_model.{name}"].path == layer
        assert names["lora_unet_" + name.replace(".", "_")].path == layer
