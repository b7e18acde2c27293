"""Put LoRAs into a model: fused into its weights, or beside them with scales that stay live."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch.nn import Parameter

from streamcam.errors import ModelError, one_line
from streamcam.models import model_files
from streamcam.models.families import FAMILIES, RANDOM, Report, family_of, is_few_step
from streamcam.models.few_step import few_step_model, recognise
from streamcam.models.lora_file import LoraFile, read_lora
from streamcam.models.lora_layers import LoraScales, with_branches
from streamcam.models.lora_names import Layer, layer_names, part_of
from streamcam.models.lora_updates import (
    BIAS_ROLES,
    LINEAR,
    Change,
    MisfitError,
    Scale,
    Tensors,
    change_of,
    parameter_of,
    updated_bias,
    updated_weight,
    weight_roles,
)
from streamcam.settings.config import Config
from streamcam.settings.named_numbers import short_names

CROSS_ATTENTION = ".attn2.to_k"
"""End of the path of a layer whose weights are as wide as the text embeddings."""


def apply_all(pipe: Any, config: Config, report: Report) -> None:
    """Put the LoRAs that `config` names into `pipe`, and fuse the LCM-LoRA if it needs that.

    Raises:
        ModelError: one is missing or damaged, made for another base model, or of a kind that
            cannot be applied.
    """
    lcm_lora = _choose_lcm_lora(pipe, config, report)
    if not (lcm_lora or config.lora):
        return
    names = layer_names(pipe, family_of(pipe))
    if lcm_lora:
        try:
            file = model_files.lora_file(lcm_lora, offline=config.offline)
        except ModelError as error:
            raise ModelError(f"{error}; or do without it with --set use_lcm_lora=false") from None
        fuse(names, file, 1.0, _family_name(pipe), report)
    if not config.fuses_loras:
        _add_branches(pipe, names, config, report)
        return
    for name, scale in config.lora.items():
        report(f"LoRA {name}, scale {scale:g}")
        file = model_files.lora_file(name, offline=config.offline)
        fuse(names, file, scale, _family_name(pipe), report)


def fuse(
    names: Mapping[str, Layer], file: Path, strength: float, family: str, report: Report
) -> None:
    """Add the LoRA in `file`, times `strength`, to the weights of a model.

    Args:
        names: the model's layers, by the names that trainers give them.
        file: of any trainer.
        strength: 0 changes nothing.
        family: of the model, for messages.
        report: takes a line if only a part of the LoRA fits.

    Raises:
        ModelError: it is damaged, of a kind that cannot be applied, or for another base model.
    """
    _for_each_layer(names, file, family, report, partial(_update, strength=strength))


def _add_branches(pipe: Any, names: Mapping[str, Layer], config: Config, report: Report) -> None:
    """Give each layer of `pipe` that LoRAs change branches for them, whose scales are live."""
    changes: dict[Layer, dict[int, Change]] = defaultdict(dict)
    for index, (name, short) in enumerate(short_names(config.lora).items()):
        report(f"LoRA {name}, scale {config.lora[name]:g}, live as lora_scale/{short}")

        def collect(layer: Layer, tensors: Tensors, scale_of: Scale, index: int = index) -> None:
            if layer.module is not None:
                changes[layer][index] = change_of(layer.module, tensors, scale_of)

        file = model_files.lora_file(name, offline=config.offline)
        _for_each_layer(names, file, _family_name(pipe), report, collect)
        if whole := sum(
            change[index].weight is not None
            for layer, change in changes.items()
            if index in change and isinstance(layer.module, LINEAR)
        ):
            report(
                f"LoRA {name}: {whole} of its layers are not of low rank, and take the time of a"
                " whole layer each; live_loras=false fuses all LoRAs, which then cost nothing"
            )
    scales = LoraScales([scale for _, scale in config.live.lora_scale])
    for layer, of_loras in changes.items():
        assert layer.module is not None
        getattr(pipe, layer.part).set_submodule(
            layer.path, with_branches(layer.module, of_loras, scales)
        )


Act = Callable[[Layer, Tensors, Scale], None]
"""Does something with a layer and what a LoRA has for it; may raise MisfitError."""


def _for_each_layer(
    names: Mapping[str, Layer], file: Path, family: str, report: Report, act: Act
) -> None:
    """Call `act` for each layer in the LoRA `file`; see `fuse`."""
    lora = read_lora(file)
    fitting = {name: names[name] for name in lora.layers if name in names}
    _check_base(lora, fitting, file, family)
    twice = [path for path, count in Counter(fitting.values()).items() if count > 1]
    if twice:
        raise ModelError(
            f"LoRA {file} holds {twice[0].path} under two names, of which it does not say which"
            " one counts; choose a file with one of them"
        )
    for name, layer in fitting.items():
        tensors = lora.layers[name]
        try:
            act(layer, tensors, partial(lora.scale_of, layer.part, layer.path, tensors))
        except (MisfitError, RuntimeError, IndexError) as error:
            raise ModelError(
                f"LoRA {file} does not fit this {family} model: {layer.path} gets"
                f" {one_line(error)}; choose one made for it"
            ) from None
    if len(fitting) < len(lora.layers):
        missing = next(name for name in lora.layers if name not in fitting)
        report(
            f"LoRA {file.name}: {len(fitting)} of {len(lora.layers)} layers fit this {family}"
            f" model, which has no {missing[:120]}"
        )
    if lora.has_embeddings:
        report(f"LoRA {file.name}: the words that are bundled with it are not used")


def _update(layer: Layer, tensors: Tensors, scale_of: Scale, *, strength: float) -> None:
    if layer.module is None:
        return
    for attribute, updated, changes in (
        ("weight", updated_weight, weight_roles(tensors)),
        ("bias", updated_bias, tensors.keys() & BIAS_ROLES),
    ):
        if not changes:
            continue
        parameter = parameter_of(layer.module, attribute)
        values = updated(parameter.data.cpu(), tensors, scale_of, strength)
        parameter.data = values.to(parameter.device)


def _check_base(lora: LoraFile, fitting: Mapping[str, Layer], file: Path, family: str) -> None:
    """Raise ModelError for a LoRA of which a whole part, or its width, is of another model."""
    if not fitting:
        raise ModelError(f"LoRA {file} has no layers that this {family} model has")
    fits = Counter(part_of(name) for name in fitting)
    for name in lora.layers:
        if not fits[part := part_of(name)]:
            raise ModelError(
                f"LoRA {file} is for another base model: none of its layers of the"
                f" {PARTS[part]} is in this {family} model; choose one made for {family}"
            )
    for name, layer in fitting.items():
        down = lora.layers[name].get("down")
        if down is None or layer.part != "unet" or not layer.path.endswith(CROSS_ATTENTION):
            continue
        width, expected = down.shape[1], _width(layer)
        if width != expected:
            raise ModelError(
                f"LoRA {file} is for another base model: it attends to texts {width} wide, this"
                f" {family} model to {expected} (SD 1.x has 768, SD 2.x 1024, SDXL 2048);"
                f" choose one made for {family}"
            )


PARTS = {
    "unet": "U-Net",
    "text_encoder": "text encoder",
    "text_encoder_2": "second text encoder",
}


def _width(layer: Layer) -> int:
    weight = getattr(layer.module, "weight", None)
    assert isinstance(weight, Parameter)
    return weight.shape[1]


def _choose_lcm_lora(pipe: Any, config: Config, report: Report) -> str | None:
    if config.use_lcm_lora is False or config.model.startswith(RANDOM):
        return None
    if config.use_lcm_lora is None and (known := few_step_model(config, lcm_lora=False)):
        report(f"{known}, so no LCM-LoRA is added")
        return None
    if config.use_lcm_lora is None and is_few_step(pipe):
        report("this model is made for few steps, so it needs no LCM-LoRA")
        return None
    name = config.lcm_lora_id or FAMILIES[family_of(pipe)].lcm_lora
    if name is None:
        report(
            f"no LCM-LoRA is known for {_family_name(pipe)}, so a few steps give a rough image;"
            " name one with --set lcm_lora_id=…"
        )
        return None
    why = "" if is_few_step(pipe) else ", since the model is not made for few steps"
    report(f"LCM-LoRA {name}{why}" if not recognise(name) else f"LoRA for few steps: {name}{why}")
    return name


def _family_name(pipe: Any) -> str:
    return FAMILIES[family_of(pipe)].name
