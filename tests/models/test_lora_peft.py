"""LoRAs of every kind that PEFT writes, against what PEFT itself makes of them."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

from streamcam.errors import ModelError
from streamcam.models.lora_file import read_lora
from streamcam.models.lora_layers import LoraScales, with_branches
from streamcam.models.lora_updates import BIAS_ROLES, change_of, updated_bias, updated_weight

LAYERS = ["linear", "square", "conv", "point", "even"]
PLAIN: dict[str, Any] = {"r": 2, "lora_alpha": 3, "init_lora_weights": False}
OTHER: dict[str, Any] = {"r": 2, "alpha": 3, "init_weights": False}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoraConfig", PLAIN),
    "rslora": ("LoraConfig", PLAIN | {"r": 4, "use_rslora": True}),
    "dora": ("LoraConfig", PLAIN | {"use_dora": True}),
    "biases": ("LoraConfig", PLAIN | {"lora_bias": True}),
    "ranks": (
        "LoraConfig",
        PLAIN | {"rank_pattern": {"linear": 4}, "alpha_pattern": {"conv": 7}},
    ),
    "loha": ("LoHaConfig", OTHER),
    "loha-cores": ("LoHaConfig", OTHER | {"use_effective_conv2d": True}),
    "lokr": ("LoKrConfig", OTHER | {"rank_pattern": {"linear": 4}}),
    "lokr-factors": (
        "LoKrConfig",
        OTHER | {"r": 1, "use_effective_conv2d": True, "decompose_factor": 2},
    ),
}


class Layers(nn.Module):
    """A layer of every kind that a U-Net has."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.square = nn.Linear(8, 12), nn.Linear(8, 8)
        self.conv, self.even = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.point = nn.Conv2d(4, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def trained(kind: str, folder: Path, **others: Any) -> tuple[Layers, Layers]:
    """Write a random LoRA of that kind to `folder`; return the layers without and with it."""
    name, given = KINDS[kind]
    torch.manual_seed(0)
    plain = Layers()
    config = getattr(peft, name)(**{"target_modules": LAYERS} | given | others)
    model = peft.get_peft_model(copy.deepcopy(plain), config)
    for name, parameter in model.named_parameters():
        if "magnitude" in name:
            parameter.data *= 1.3
        elif name.endswith("lora_B.default.bias"):
            parameter.data.normal_()
    model.save_pretrained(folder)
    merged: Layers = model.merge_and_unload()
    return plain, merged


@pytest.mark.filterwarnings("ignore:.*invalid shape")
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_fused_and_live_it_does_what_it_does_in_peft(kind: str, tmp_path: Path) -> None:
    plain, merged = trained(kind, tmp_path)
    lora = read_lora(tmp_path / "adapter_model.safetensors")
    assert set(lora.layers) == set(LAYERS)
    for name, tensors in lora.layers.items():
        layer, expected = plain.get_submodule(name), merged.get_submodule(name)
        scale_of = partial(lora.scale_of, "unet", name, tensors)
        weight = updated_weight(layer.weight.data, tensors, scale_of, 1.0)  # type: ignore[arg-type]
        torch.testing.assert_close(weight, expected.weight.data, msg=f"{name}: {{}}".format)
        if tensors.keys() & BIAS_ROLES:
            bias = updated_bias(layer.bias.data, tensors, scale_of, 1.0)  # type: ignore[arg-type]
            torch.testing.assert_close(bias, expected.bias.data)
        x = torch.randn(2, weight.shape[1], *([5, 5] if weight.dim() > 2 else []))
        live = with_branches(layer, {0: change_of(layer, tensors, scale_of)}, LoraScales([1.0]))
        torch.testing.assert_close(live(x), expected(x), atol=1e-5, rtol=1e-5)


def test_one_that_began_as_a_part_of_the_weights_is_refused(tmp_path: Path) -> None:
    trained("lora", tmp_path, init_lora_weights="pissa", target_modules=["linear"])
    with pytest.raises(ModelError, match=r"began as a part of its base model's weights \(pissa\)"):
        read_lora(tmp_path / "adapter_model.safetensors")
