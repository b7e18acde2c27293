"""LoRAs, added to the weights once and for all: the stream then costs no more for them."""

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

TEXT_READER = re.compile(r"attn2[._](processor\.)?to_k.*(lora[._]down|lora_A)(\.\w+)?\.weight$")
"""Matches, in every LoRA format, the matrix that is as wide as the texts attended to."""


def fuse_all(pipe: Any, config: Config, report: Report) -> None:
    """Add the LoRAs that `config` names, and the LCM-LoRA if the model needs it.

    Raises:
        ModelError: one is missing or damaged, or made for another base model.
    """
    if lcm_lora := _lcm_lora(pipe, config, report):
        try:
            file = hub.lora_file(lcm_lora, offline=config.offline)
        except ModelError as error:
            raise ModelError(f"{error}; or go without it with --set use_lcm_lora=false") from None
        fuse(pipe, file, 1.0)
    for name, scale in config.lora.items():
        report(f"LoRA {name}, scale {scale:g}")
        fuse(pipe, hub.lora_file(name, offline=config.offline), scale)


def fuse(pipe: Any, file: Path, scale: float) -> None:
    """Add the LoRA in `file` to the weights of `pipe`, times `scale`.

    Raises:
        ModelError: it is damaged, or made for another base model.
    """
    _check_base(pipe, file)
    with explain_load_errors(
        f"LoRA {file} into this {_name(pipe)} model", file, "choose one made for it"
    ):
        if (weights := _scaled(load_file(file))) is not None:
            pipe.load_lora_weights(weights)
        else:  # From the file, whose header may hold the scales.
            pipe.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)
    if not any(pipe.get_list_adapters().values()):
        raise ModelError(f"LoRA {file} has no layers that this {_name(pipe)} model has")
    pipe.fuse_lora(lora_scale=scale)
    pipe.unload_lora_weights()


def _scaled(weights: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Multiply every layer by its alpha over its rank; None where no layer has an alpha.

    Loaded as they are, layers whose alphas differ get each other's.
    """
    alphas = [name for name in weights if name.endswith(".alpha")]
    for name in alphas:
        layer = name.removesuffix(".alpha")
        down, up = (weights.get(f"{layer}.lora_{which}.weight") for which in ("down", "up"))
        if down is not None and up is not None:
            weights[f"{layer}.lora_up.weight"] = up.float() * weights.pop(name) / down.shape[0]
    return weights if alphas else None


def _check_base(pipe: Any, file: Path) -> None:
    readers = [name for name in sorted(tensor_names(file)) if TEXT_READER.search(name)]
    if not readers:
        return
    with safe_open(file, "pt") as weights:
        width = int(weights.get_slice(readers[0]).get_shape()[1])
    wanted = pipe.unet.config.cross_attention_dim
    if width != wanted:
        raise ModelError(
            f"LoRA {file} is for another base model: it attends to texts {width} wide, this"
            f" {_name(pipe)} model to {wanted} (SD 1.x has 768, SD 2.x 1024, SDXL 2048);"
            f" choose one made for {_name(pipe)}"
        )


def _lcm_lora(pipe: Any, config: Config, report: Report) -> str | None:
    if config.use_lcm_lora is False or config.model.startswith(RANDOM):
        return None
    if config.use_lcm_lora is None and is_few_step(pipe):
        report("few-step model: no LCM-LoRA needed")
        return None
    name = config.lcm_lora_id or FAMILIES[family_of(pipe)].lcm_lora
    if name is None:
        report(
            f"no LCM-LoRA is known for {_name(pipe)}, so a few steps give a rough picture;"
            " name one with --set lcm_lora_id=…"
        )
        return None
    report(f"LCM-LoRA {name}" + ("" if is_few_step(pipe) else ", since the model is not few-step"))
    return name


def _name(pipe: Any) -> str:
    return FAMILIES[family_of(pipe)].name
