"""Weights in a single-file checkpoint: their usual names and scales, and what they predict."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.errors import ModelError

NESTED = "state_dict."
TEXT_ENCODER, TEXT_MODEL = "cond_stage_model.transformer.", "text_model."
SCALE_NAMES = (".scale_weight", ".weight_scale")
"""Endings of the factors of weights that are stored in float8, as ComfyUI and its converters do."""
SCALE_REMARKS = (".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8")
"""Endings of what is stored with them for computing in float8 as well."""
EDM = "edm_"
"""Prefix of marks of another noise schedule than that of Stable Diffusion."""

V_MARK, ZERO_SNR_MARK = "v_pred", "ztsnr"
PREDICTION_HEADER = "modelspec.prediction_type"
PREDICTIONS = {
    "v": "v_prediction",
    "v_prediction": "v_prediction",
    "v-prediction": "v_prediction",
    "epsilon": "epsilon",
    "eps": "epsilon",
}


class Prediction(NamedTuple):
    """A file's own remarks about what its U-Net predicts."""

    kind: str
    """As in a scheduler's ``prediction_type``."""
    zero_terminal_snr: bool

    def __str__(self) -> str:
        rescaled = ", with betas rescaled to zero terminal SNR" if self.zero_terminal_snr else ""
        return f"predicts {self.kind}{rescaled}"


def prediction_in(weights: Mapping[str, Tensor], header: Mapping[str, str]) -> Prediction | None:
    """Return what a file says about its prediction, by marks or in its header; None if nothing.

    Raises:
        ModelError: the model is of a kind that cannot run.
    """
    if any(name.startswith(EDM) for name in weights):
        raise ModelError(
            "this model was trained on the EDM schedule, which streamcam does not run; choose one"
            " that predicts epsilon or v"
        )
    names = {name.rpartition(".")[2] for name in weights}
    said = header.get(PREDICTION_HEADER, "").strip().lower()
    if said and said not in PREDICTIONS:
        raise ModelError(f"this model predicts {said[:80]}; those that run predict epsilon or v")
    if V_MARK in names or ZERO_SNR_MARK in names:
        return Prediction("v_prediction", ZERO_SNR_MARK in names)
    return Prediction(PREDICTIONS[said], zero_terminal_snr=False) if said else None


def original_weights(stored: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the weights in a file under the names of the original releases, with scales applied.

    Args:
        stored: the tensors as the file has them.
        dtype: of weights that a scale was applied to.

    Raises:
        ModelError: they are quantised in a way that is not known.
    """
    weights = {_original_name(name): tensor for name, tensor in stored.items()}
    for ending in SCALE_NAMES:
        for scale in [name for name in weights if name.endswith(ending)]:
            scaled = f"{scale.removesuffix(ending)}.weight"
            if scaled not in weights:
                raise ModelError(f"{scale} scales no weights: the file is damaged")
            weights[scaled] = _scaled(scaled, weights[scaled], weights.pop(scale)).to(dtype)
    kept = {n: w for n, w in weights.items() if not n.endswith(SCALE_REMARKS)}
    for name, weight in kept.items():
        if name.endswith(".weight") and not weight.is_floating_point():
            kind = str(weight.dtype).removeprefix("torch.")
            raise ModelError(
                f"{name} is quantised to {kind}, which is not known; get the model in float16"
            )
    return kept


def _original_name(stored: str) -> str:
    name = stored.removeprefix(NESTED)
    rest = name.removeprefix(TEXT_ENCODER)
    # The first merges left a part of the text encoder's names out.
    is_short = rest != name and not rest.startswith(TEXT_MODEL)
    return f"{TEXT_ENCODER}{TEXT_MODEL}{rest}" if is_short else name


def _scaled(name: str, weight: Tensor, scale: Tensor) -> Tensor:
    if scale.numel() not in (1, weight.shape[0]) or not weight.is_floating_point():
        raise ModelError(
            f"{name} is quantised in a way that is not known; get the model in float16"
        )
    return weight.float() * scale.float().reshape(-1, *[1] * (weight.dim() - 1))
