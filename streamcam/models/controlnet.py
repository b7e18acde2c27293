"""Load ControlNets and T2I-Adapters for a model: from the hub, a folder, or a single file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models import hub, model_files
from streamcam.models.controlnet_fit import (
    XL_ADAPTER,
    check_fits,
    other_base,
    takes_xl_adapters,
)
from streamcam.models.controlnet_union import (
    TASKS,
    UNION_CLASS,
    is_union,
    union_config,
    union_type,
)
from streamcam.models.drawing_models import DrawingModel, load_drawing_models
from streamcam.models.families import FAMILY_CHANNELS, RANDOM, Report
from streamcam.models.file_headers import read_json
from streamcam.models.presence import no_controlnets
from streamcam.models.weights import (
    check_finite,
    check_no_missing_weights,
    explain_load_errors,
    safe_tensors,
)
from streamcam.settings.config import Config
from streamcam.settings.named_numbers import short_names

ADAPTER, UNION = "adapter", "union"
CONTROLNET_CLASS, ADAPTER_CLASS = "ControlNetModel", "T2IAdapter"
XS_CLASS = "ControlNetXSAdapter"
ORIGINAL_PREFIX = "control_model."
FIRST_LAYERS = ("controlnet_cond_embedding.conv_in.weight", "input_hint_block.0.weight")
"""Of ControlNets as diffusers names them, and as they were published."""
ADDED_NAMES = {
    f"label_emb.0.{old}.{kind}": f"add_embedding.linear_{new}.{kind}"
    for old, new in ((0, 1), (2, 2))
    for kind in ("weight", "bias")
}
"""Names of the embedding of sizes and pooled text, from the original ones."""


class LoadedControl(NamedTuple):
    """A ControlNet or a T2I-Adapter, with its weights."""

    name: str
    """Its short name, as in addresses."""
    module: Any
    """A `ControlNetModel`, a `ControlNetUnionModel` or a `T2IAdapter` of diffusers."""
    union_type: int | None = None
    """The type of its images, where it is a union."""

    @property
    def is_adapter(self) -> bool:
        """Whether it reads the image alone, and neither latents nor prompt."""
        return type(self.module).__name__ == ADAPTER_CLASS


class Controls(NamedTuple):
    """All that steers a U-Net by images."""

    nets: Sequence[LoadedControl] = ()
    drawn_by: Mapping[str, DrawingModel] = MappingProxyType({})
    """Models that draw what they are shown, by the preprocessor."""


def load_controls(config: Config, unet: Any, dtype: torch.dtype, report: Report) -> Controls:
    """Return the ControlNets and T2I-Adapters of `config`, which fit `unet`.

    Raises:
        ModelError: one is missing, damaged, or made for another model.
    """
    from diffusers import ControlNetUnionModel

    names = short_names(config.controlnet)
    if names and unet.config.in_channels != FAMILY_CHANNELS:
        raise ModelError(no_controlnets(config.model))
    loaded = []
    with hub.offline_mode(offline=config.offline):
        for item, name in names.items():
            module = _load(item, unet, dtype, offline=config.offline).to(dtype)
            net = LoadedControl(name, module.eval().requires_grad_(False))
            check_fits(item, module, unet, config, is_adapter=net.is_adapter)
            check_finite(module, item)
            if isinstance(module, ControlNetUnionModel):
                images = config.control_kinds[name]
                net = net._replace(union_type=union_type(item, name, module, images))
            loaded.append(net)
            kind = "T2I-Adapter" if net.is_adapter else "ControlNet"
            shown = config.control_inputs[name]
            source = f" of {shown.source}" if shown.source else ""
            report(f"{kind} {name}: shown {shown.preprocessor}{source}")
    return Controls(loaded, load_drawing_models(config, dtype))


def _load(item: str, unet: Any, dtype: torch.dtype, *, offline: bool) -> Any:
    if item.startswith(RANDOM):
        return _random(item.removeprefix(RANDOM), unet)
    path = model_files.control_path(item, offline=offline)
    if path.is_file():
        return _from_file(path, unet, dtype)
    return _from_folder(path, item, dtype)


def _from_folder(folder: Path, item: str, dtype: torch.dtype) -> Any:
    import diffusers

    file = folder / "config.json"
    with explain_load_errors(item, folder, "fetch it again"):
        settings = read_json(file) if file.exists() else {}
        kind = UNION_CLASS if is_union(settings) else settings.get("_class_name")
        if kind == XS_CLASS:
            raise ModelError(
                f"{item} is a ControlNet-XS, which is built into the U-Net and does not run here;"
                " choose a ControlNet or a T2I-Adapter"
            )
        if kind not in (CONTROLNET_CLASS, UNION_CLASS, ADAPTER_CLASS):
            what = (
                f"is a {kind}" if kind else "holds no ControlNet: no config.json says of what kind"
            )
            raise ModelError(
                f"{item} {what}; --controlnet takes a {CONTROLNET_CLASS}, a {UNION_CLASS} or a"
                f" {ADAPTER_CLASS}"
            )
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise ModelError(
                f"{item} has no .safetensors weights; others are pickled, which can run code:"
                " get them as .safetensors"
            )
        halved = any(".fp16" in file.name for file in weights)
        plain = any(".fp16" not in file.name for file in weights)
        module = getattr(diffusers, kind).from_pretrained(
            str(folder),
            dtype=dtype,
            variant="fp16" if halved and (dtype != torch.float32 or not plain) else None,
            use_safetensors=True,
            local_files_only=True,
        )
    check_no_missing_weights(module, None, item)
    return module


def _from_file(path: Path, unet: Any, dtype: torch.dtype) -> Any:
    """Return the ControlNet in one file, by the names of diffusers or of the first releases."""
    import diffusers
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint

    with explain_load_errors(str(path), path, "fetch it again"):
        stored, _ = safe_tensors(path)
    weights = {name.removeprefix(ORIGINAL_PREFIX): tensor for name, tensor in stored.items()}
    if not any(first in weights for first in FIRST_LAYERS):
        raise ModelError(f"{path} is no ControlNet: {_what_it_is(weights)}")
    config = _config_for(weights, unet)
    try:
        kind = diffusers.ControlNetUnionModel if TASKS in weights else diffusers.ControlNetModel
        module = kind.from_config(config)
        converted = convert_controlnet_checkpoint(dict(weights), config)
        # Those of SDXL, of which diffusers does not know the original names.
        added = {new: weights[old] for old, new in ADDED_NAMES.items() if old in weights}
        fitting = module.load_state_dict(converted | added, strict=False)
        if fitting.unexpected_keys:
            raise KeyError(fitting.unexpected_keys[0])
    except (RuntimeError, KeyError, IndexError, AttributeError):
        raise ModelError(other_base(str(path), _width(weights), unet)) from None
    found = {name for name, _ in module.named_parameters()} - set(fitting.missing_keys)
    check_no_missing_weights(module, found, str(path))
    return module.to(dtype)


def _what_it_is(weights: Mapping[str, Tensor]) -> str:
    if any("lora" in name for name in weights):
        return "it is a Control-LoRA or a LoRA; get the whole ControlNet, or give it with --lora"
    if any(name.startswith("body.") for name in weights):
        return "a T2I-Adapter is read from a folder or the hub, where its config.json is"
    return "it has no layers for an image; give the ControlNet's own file"


def _config_for(weights: Mapping[str, Tensor], unet: Any) -> dict[str, Any]:
    """Return the config of a ControlNet of these weights, otherwise built as `unet`."""
    config = _controlnet_config(unet)
    if FIRST_LAYERS[0] not in weights:
        return config
    # Smaller ControlNets for SDXL leave transformer blocks of the U-Net out.
    levels = range(len(config["block_out_channels"]))
    depths = [_depth(weights, f"down_blocks.{level}.attentions.0.") for level in levels]
    config["down_block_types"] = [
        "CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths
    ]
    config["transformer_layers_per_block"] = [max(1, depth) for depth in depths]
    return union_config(config, weights) if TASKS in weights else config


def _depth(weights: Mapping[str, Tensor], prefix: str) -> int:
    start = f"{prefix}transformer_blocks."
    return len({n.removeprefix(start).split(".")[0] for n in weights if n.startswith(start)})


def _width(weights: Mapping[str, Tensor]) -> int | None:
    """Return the width of the text embeddings that a ControlNet of these weights reads."""
    return next((w.shape[1] for n, w in weights.items() if n.endswith("attn2.to_k.weight")), None)


def _controlnet_config(unet: Any) -> dict[str, Any]:
    from diffusers import ControlNetModel

    with torch.device("meta"):
        return dict(ControlNetModel.from_unet(unet, load_weights_from_unet=False).config)


def _random(name: str, unet: Any) -> Any:
    """Return a ControlNet for `unet` with random weights, or a union or T2I-Adapter of that name.

    What training makes of the layers that begin at zero is drawn too.
    """
    from diffusers import ControlNetModel, ControlNetUnionModel, T2IAdapter

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(name.encode()))
        if ADAPTER in name:
            widths = list(unet.config.block_out_channels)
            kind, factor = (XL_ADAPTER, 16) if takes_xl_adapters(unet) else ("full_adapter", 8)
            channels = [*widths, *widths[-1:] * (4 - len(widths))][:4]
            return T2IAdapter(
                channels=channels, num_res_blocks=1, downscale_factor=factor, adapter_type=kind
            )
        config = _controlnet_config(unet)
        if UNION in name:
            width = unet.config.block_out_channels[0]
            sizes = {"num_trans_channel": width, "num_proj_channel": width}
            module = ControlNetUnionModel.from_config(config | sizes)
            torch.nn.init.normal_(module.spatial_ch_projs.weight, std=width**-0.5)
        else:
            module = ControlNetModel.from_config(config)
        zeros = [*module.controlnet_down_blocks, module.controlnet_mid_block]
        for layer in (*zeros, module.controlnet_cond_embedding.conv_out):
            torch.nn.init.normal_(layer.weight, std=0.3 / layer.in_channels**0.5)
    return module
