"""Fuse LoRAs into the weights of a model, so that they cost the stream nothing."""

import re
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models import hub
from streamcam.models.families import FAMILIES, RANDOM, Report, family_of, is_few_step
from streamcam.models.weights import explain_load_errors, tensor_names
from streamcam.settings.config import Config

CROSS_ATTENTION_KEY = re.compile(
    r"attn2[._](processor\.)?to_k.*(lora[._]down|lora_A)(\.\w+)?\.weight$"
)
"""Matches, in every LoRA format, a matrix that is as wide as the text embeddings."""


def fuse_all(pipe: Any, config: Config, report: Report) -> None:
    """Fuse the LoRAs that `config` names, and the LCM-LoRA if the model needs it.

    Raises:
        ModelError: one is missing or damaged, or made for another base model.
    """
    if lcm_lora := _choose_lcm_lora(pipe, config, report):
        try:
            file = hub.lora_file(lcm_lora, offline=config.offline)
        except ModelError as error:
            raise ModelError(f"{error}; or do without it with --set use_lcm_lora=false") from None
        fuse(pipe, file, 1.0)
    for name, scale in config.lora.items():
        report(f"LoRA {name}, scale {scale:g}")
        fuse(pipe, hub.lora_file(name, offline=config.offline), scale)


def fuse(pipe: Any, file: Path, scale: float) -> None:
    """Add the LoRA in `file`, times `scale`, to the weights of `pipe`.

    Raises:
        ModelError: it is damaged, or made for another base model.
    """
    _check_base(pipe, file)
    with explain_load_errors(
        f"LoRA {file} into this {_family_name(pipe)} model", file, "choose one made for it"
    ):
        if (weights := _scale_by_alpha(load_file(file))) is not None:
            pipe.load_lora_weights(weights)
        else:  # From the file, whose metadata may hold the scales.
            pipe.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)
    if not any(pipe.get_list_adapters().values()):
        raise ModelError(f"LoRA {file} has no layers that this {_family_name(pipe)} model has")
    pipe.fuse_lora(lora_scale=scale)
    pipe.unload_lora_weights()


def _scale_by_alpha(weights: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the weights times alpha over rank, layer by layer; None where no layer has an alpha.

    diffusers would mix up the alphas of layers that differ in them.
    """
    alphas = [name for name in weights if name.endswith(".alpha")]
    for name in alphas:
        layer = name.removesuffix(".alpha")
        down, up = (weights.get(f"{layer}.lora_{part}.weight") for part in ("down", "up"))
        if down is not None and up is not None:
            weights[f"{layer}.lora_up.weight"] = up.float() * weights.pop(name) / down.shape[0]
    return weights if alphas else None


def _check_base(pipe: Any, file: Path) -> None:
    keys = [name for name in sorted(tensor_names(file)) if CROSS_ATTENTION_KEY.search(name)]
    if not keys:
        return
    with safe_open(file, "pt") as weights:
        width = int(weights.get_slice(keys[0]).get_shape()[1])
    expected = pipe.unet.config.cross_attention_dim
    if width != expected:
        raise ModelError(
            f"LoRA {file} is for another base model: it attends to texts {width} wide, this"
            f" {_family_name(pipe)} model to {expected} (SD 1.x has 768, SD 2.x 1024, SDXL 2048);"
            f" choose one made for {_family_name(pipe)}"
        )


def _choose_lcm_lora(pipe: Any, config: Config, report: Report) -> str | None:
    if config.use_lcm_lora is False or config.model.startswith(RANDOM):
        return None
    if config.use_lcm_lora is None and is_few_step(pipe):
        report("few-step model: no LCM-LoRA needed")
        return None
    name = config.lcm_lora_id or FAMILIES[family_of(pipe)].lcm_lora
    if name is None:
        report(
            f"no LCM-LoRA is known for {_family_name(pipe)}, so a few steps give a rough image;"
            " name one with --set lcm_lora_id=…"
        )
        return None
    report(f"LCM-LoRA {name}" + ("" if is_few_step(pipe) else ", since the model is not few-step"))
    return name


def _family_name(pipe: Any) -> str:
    return FAMILIES[family_of(pipe)].name
