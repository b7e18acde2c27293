"""float8 (E4M3): a stage whose large products have both sides in three bits of mantissa.

Each side is scaled as a whole, by a power of two: that rounds nothing, and leaves up to one
exponent of room above what was measured. What goes beyond stays at the largest value
(Micikevicius et al. 2022, "FP8 Formats for Deep Learning", sections 2 and 3).
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from streamcam.engines.accuracy import probes
from streamcam.engines.dtypes import FLOAT8
from streamcam.engines.flat_stage import Flat

LARGEST = torch.finfo(FLOAT8).max
CHANNELS = 16
"""TensorRT has float8 for multiples of these in and out, from two times as many on."""
TINY = 2.0**-14
"""The least magnitude that is told from none: its scale is one that float16 holds."""
SEEDS = range(1, 5)
"""Of the pictures that ranges are measured on; precision is judged on another."""


def bears_float8(flat: Flat) -> bool:
    """Return whether this is a stage that says so of itself."""
    return getattr(flat.stage, "bears_float8", False)


def in_float8(flat: Flat, inputs: Sequence[Tensor]) -> Flat:
    """Return a copy of `flat` that computes in float8 wherever it convolves or multiplies.

    The ranges are those of calls like that with `inputs`.
    """
    ranges = _ranges(flat, inputs)
    stage = copy.deepcopy(flat.stage)
    for name, largest in ranges.items():
        stage.set_submodule(name, Rounded(stage.get_submodule(name), largest))
    return flat.of(stage)


@torch.library.custom_op("streamcam::rounded_to_float8", mutates_args=())
def rounded(x: Tensor, scale: Tensor) -> Tensor:
    """Return `x` as float8 has it, at most `LARGEST` times `scale`."""
    return (x / scale).clamp(-LARGEST, LARGEST).to(FLOAT8).to(x.dtype) * scale


@rounded.register_fake
def _(x: Tensor, scale: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(x)


def rounded_in_onnx(x: Any, scale: Any) -> Any:
    """Return what `rounded` is in ONNX: the pair that TensorRT takes for a number format."""
    import onnxscript
    from onnx import TensorProto, helper

    opset: Any = onnxscript.opset19
    zero = helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, [], [0.0])
    zero_point = opset.Constant(value=zero)
    coded = opset.QuantizeLinear(x, scale, zero_point)
    return opset.DequantizeLinear(coded, scale, zero_point)


ROUNDED = torch.ops.streamcam.rounded_to_float8.default
"""`rounded`, as an export has it."""


class Rounded(nn.Module):
    """A layer both of whose sides, what it is given and its weights, are rounded to float8."""

    def __init__(self, layer: nn.Module, largest: Tensor) -> None:
        super().__init__()
        weight: Any = layer.weight
        self.layer = layer
        self.scale: Tensor
        self.register_buffer("scale", _scale(largest).to(weight))
        self.scale_of_weight: Tensor
        self.register_buffer("scale_of_weight", _scale(_largest(weight)).to(weight))

    def forward(self, x: Tensor) -> Tensor:
        weight = rounded(self.layer.weight, self.scale_of_weight)
        result: Tensor = functional_call(self.layer, {"weight": weight}, rounded(x, self.scale))
        return result


def _scale(largest: Tensor) -> Tensor:
    """Return the least power of two that `largest` is at most `LARGEST` times of."""
    return torch.exp2(torch.ceil(torch.log2(largest.float().clamp(min=TINY) / LARGEST)))


def _largest(x: Tensor) -> Tensor:
    return x.detach().abs().max()


def _ranges(flat: Flat, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the largest magnitude that each layer which bears float8 is given, by its name."""
    found: dict[str, Tensor] = {}

    def watch(name: str, given: Tensor) -> None:
        # Of one row each, as embeddings of time are: next to no work.
        if given.ndim > 2:
            largest = _largest(given)
            found[name] = torch.maximum(found.get(name, largest), largest)

    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: watch(name, args[0]))
        for name, layer in flat.stage.named_modules()
        if _is_large(layer)
    ]
    try:
        for seed in SEEDS:
            flat(*probes(inputs, seed))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _is_large(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        sides = (layer.in_channels, layer.out_channels)
        whole = layer.groups == 1
    elif isinstance(layer, nn.Linear):
        sides, whole = (layer.in_features, layer.out_features), True
    else:
        return False
    return whole and all(side > CHANNELS and side % CHANNELS == 0 for side in sides)
