"""Read LoRA files of every trainer as one table: tensors by layer and role."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from streamcam.errors import ModelError
from streamcam.models.file_headers import MAX_JSON_BYTES, read_json
from streamcam.models.model_files import PEFT_CONFIG, PEFT_FILE
from streamcam.models.training_files import lora_tensors, plain_name, read_pickled
from streamcam.models.weights import explain_load_errors, safe_tensors

PEFT_HEADER = "lora_adapter_metadata"

_MODULATION = re.compile(r"\.diff_m$")
"""Ending of the differences of a transformer block's modulation, in the files of LightX2V."""
_LORA = r"[._]lora[._](?:linear_layer\.)?"
_ADAPTER = r"(?:\.\w+)?"
ROLES = [
    (re.compile(pattern + "$"), role)
    for pattern, role in (
        (rf"{_LORA}(?:down|A){_ADAPTER}\.weight", "down"),
        (rf"{_LORA}(?:up|B){_ADAPTER}\.weight", "up"),
        (rf"{_LORA}(?:up|B){_ADAPTER}\.bias", "up_bias"),
        (r"\.lora_mid\.weight", "mid"),
        (rf"\.(?:dora_scale|lora_magnitude_vector{_ADAPTER}(?:\.weight)?)", "magnitude"),
        (r"(?:[._]lora)?\.alpha", "alpha"),
        (r"\.(?:diff|w_norm)", "diff"),
        (r"\.(?:diff_b|b_norm)", "diff_b"),
        (r"\.(?P<role>hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12](?:_[ab])?|t2))", None),
    )
]
"""Endings of the names of tensors in kohya's, PEFT's, diffusers' and LyCORIS' files."""

EMBEDDING = re.compile(r"^(bundle_emb\..*|emb_params|clip_[lgh])$")
"""Matches words that a trainer has bundled with the layers (textual inversion)."""

OTHER_KINDS = (
    (re.compile(r"oft_|\.oft"), "OFT"),
    (re.compile(r"\.[ab][12]\.weight$"), "GLoRA"),
    (re.compile(r"\.on_input$"), "IA3"),
)
STARTS_IN_WEIGHTS = ("pissa", "olora", "corda")
"""PEFT's ways to begin a LoRA that take it out of the base model's weights."""
KINDS = "LoRA, LoCon, LoHa, LoKr, DoRA or weight differences"


@dataclass(frozen=True, slots=True)
class LoraFile:
    """Contents of a LoRA file."""

    layers: Mapping[str, Mapping[str, Tensor]]
    """Tensors by the layer's name, as its trainer spells it, and by role."""
    peft: Mapping[str, Any]
    """Settings that PEFT has stored with the tensors, by ``PART.NAME``."""
    has_embeddings: bool
    """Whether it also holds words for the prompt, which are not among the layers."""

    def scale_of(self, part: str, layer: str, tensors: Mapping[str, Tensor], rank: int) -> float:
        """Return the factor of a layer's change: alpha over rank, 1 where no alpha is given."""
        if (alpha := tensors.get("alpha")) is not None:
            return float(alpha.reshape(())) / rank
        alpha = _peft(self.peft, part, "lora_alpha")
        # Of its LoHa and LoKr.
        alpha = _peft(self.peft, part, "alpha") if alpha is None else alpha
        alpha = _by_pattern(_peft(self.peft, part, "alpha_pattern"), layer, alpha)
        if alpha is None:
            return 1.0
        return float(alpha) / (rank**0.5 if _peft(self.peft, part, "use_rslora") else rank)


def _peft(settings: Mapping[str, Any], part: str, name: str) -> Any:
    return settings.get(f"{part}.{name}", settings.get(name))


def _by_pattern(patterns: Any, layer: str, default: Any) -> Any:
    """Return the value of the pattern that fits the end of a layer's path, as PEFT does."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(?:.*\.)?(?:{pattern})$", layer):
            return value
    return default


def read_lora(file: Path) -> LoraFile:
    """Return the contents of `file`; where it is pickled, no code in it is run.

    Raises:
        ModelError: it is damaged, of a kind that cannot be applied, or holds NaN.
    """
    with explain_load_errors(f"LoRA {file}", file, "get it again"):
        if file.suffix == ".safetensors":
            weights, header = safe_tensors(file)
        else:
            weights, header = lora_tensors(read_pickled(file)), {}
        peft = _peft_settings(file, header)
    layers: dict[str, dict[str, Tensor]] = defaultdict(dict)
    has_embeddings = False
    for name, tensor in weights.items():
        if EMBEDDING.match(name):
            has_embeddings = True
            continue
        layer, role = _layer_and_role(file, name)
        if not torch.isfinite(values := tensor.float()).all():
            raise ModelError(
                f"LoRA {file} holds values that are no numbers (NaN or infinity), first in {name}:"
                " its training or merging went wrong; choose another"
            )
        if role in layers[layer]:
            raise ModelError(
                f"LoRA {file} holds several LoRAs in one: {name[:120]} is not the only one of its"
                " layer; choose a file with one of them"
            )
        # PEFT's has a length for every output in any shape, LyCORIS' may have one for every input.
        layers[layer][role] = values.flatten() if "magnitude_vector" in name else values
    if not layers:
        raise ModelError(
            f"LoRA {file} holds no layers"
            + (", but words for the prompt (textual inversion)" if has_embeddings else "")
        )
    _check_start(file, peft)
    if peft.get("peft_type") == "LOKR":
        _scale_whole_factors(layers, peft)
    return LoraFile(dict(_checked(file, layers)), peft, has_embeddings)


def _check_start(file: Path, peft: Mapping[str, Any]) -> None:
    """Raise ModelError for a LoRA whose training began by taking a part out of the weights."""
    for name, start in peft.items():
        if name.endswith("init_lora_weights") and str(start).startswith(STARTS_IN_WEIGHTS):
            raise ModelError(
                f"LoRA {file} began as a part of its base model's weights ({start}) and only fits"
                " what was left of them; save it with path_initial_model_for_weight_conversion"
            )


def _scale_whole_factors(layers: Mapping[str, dict[str, Tensor]], peft: Mapping[str, Any]) -> None:
    """Scale LoKr of two whole factors, which have no rank, as PEFT does by that of its settings."""
    for layer, tensors in layers.items():
        if {"lokr_w1", "lokr_w2"} <= tensors.keys():
            alpha = _by_pattern(peft.get("alpha_pattern"), layer, peft.get("alpha"))
            rank = _by_pattern(peft.get("rank_pattern"), layer, peft.get("r"))
            if alpha and rank:
                tensors["lokr_w1"] = tensors["lokr_w1"] * (float(alpha) / float(rank))


def _layer_and_role(file: Path, name: str) -> tuple[str, str]:
    name = _MODULATION.sub(".modulation.diff", plain_name(name))
    for pattern, role in ROLES:
        if found := pattern.search(name):
            layer = name[: found.start()].removeprefix("base_model.model.")
            return layer.replace(".processor.", "."), role or found["role"]
    kind = next((kind for pattern, kind in OTHER_KINDS if pattern.search(name)), None)
    raise ModelError(
        f"LoRA {file} holds {f'{kind} layers' if kind else 'tensors of an unknown kind'}, such as"
        f" {name[:120]}; those that can be applied are {KINDS}"
    )


def _checked(
    file: Path, layers: Mapping[str, dict[str, Tensor]]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the layers; raise ModelError for one that lacks a part of itself."""
    for layer, tensors in layers.items():
        roles = tensors.keys()
        whole = (
            {"down", "up"} <= roles
            or {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} <= roles
            or (_has_factor("lokr_w1", roles) and _has_factor("lokr_w2", roles))
            or "diff" in roles
            or "diff_b" in roles
        )
        alpha = tensors.get("alpha")
        if not whole or (alpha is not None and alpha.numel() != 1):
            raise ModelError(
                f"LoRA {file} is damaged: {layer[:120]} has only {', '.join(sorted(roles))};"
                " get it again"
            )
        yield layer, tensors


def _has_factor(name: str, roles: Any) -> bool:
    return name in roles or {f"{name}_a", f"{name}_b"} <= roles


def _peft_settings(file: Path, header: Mapping[str, str]) -> dict[str, Any]:
    """Return what PEFT has stored: in the header, or in a file next to the weights."""
    if PEFT_HEADER in header and len(header[PEFT_HEADER]) <= MAX_JSON_BYTES:
        settings = json.loads(header[PEFT_HEADER])
    elif file.name == PEFT_FILE and (file.parent / PEFT_CONFIG).exists():
        settings = read_json(file.parent / PEFT_CONFIG)
    else:
        settings = {}
    if not isinstance(settings, dict):
        raise ValueError(f"{PEFT_HEADER} is no table")
    return settings
