"""float8 (E4M3) for TensorRT: round the inputs and the weights of large layers to float8.

Each tensor has one scale, a power of two: that rounds nothing, and leaves up to one exponent of
room above the largest value measured. Values beyond it saturate
(Micikevicius et al. 2022, "FP8 Formats for Deep Learning", sections 2 and 3).
"""

import copy
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from streamcam.engines.accuracy import probe_inputs
from streamcam.engines.dtypes import FLOAT8
from streamcam.engines.flat_stage import FlatStage

LARGEST = torch.finfo(FLOAT8).max
CHANNELS = 16
"""TensorRT has float8 for multiples of these, from twice as many on, in and out."""
TINY = 2.0**-14
"""The least magnitude that is not taken for zero: its scale is one that float16 holds."""
SEEDS = range(1, 5)
"""Of the probes that ranges are measured on; accuracy is measured on another."""


@runtime_checkable
class SupportsFloat8(Protocol):
    """A stage that says whether it may compute in float8."""

    supports_float8: bool


def supports_float8(flat: FlatStage) -> bool:
    """Return whether the stage says that it may compute in float8."""
    return isinstance(flat.stage, SupportsFloat8) and flat.stage.supports_float8


def to_float8(flat: FlatStage, inputs: Sequence[Tensor]) -> FlatStage:
    """Return a copy of `flat` that computes in float8 in its large layers.

    Their ranges are measured on calls with probes in the shapes of `inputs`.
    """
    ranges = _ranges(flat, inputs)
    stage = copy.deepcopy(flat.stage)
    for name, largest in ranges.items():
        stage.set_submodule(name, Float8Layer(stage.get_submodule(name), largest))
    return flat.with_stage(stage)


@torch.library.custom_op("streamcam::round_to_float8", mutates_args=())
def round_to_float8(x: Tensor, scale: Tensor) -> Tensor:
    """Return `x` rounded to float8 values times `scale`, saturating at `LARGEST` times `scale`."""
    return (x / scale).clamp(-LARGEST, LARGEST).to(FLOAT8).to(x.dtype) * scale


@round_to_float8.register_fake
def _(x: Tensor, scale: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(x)


def round_to_float8_in_onnx(x: Any, scale: Any) -> Any:
    """Translate `round_to_float8` to ONNX: the pair of nodes that TensorRT reads as float8."""
    import onnxscript
    from onnx import TensorProto, helper

    opset: Any = onnxscript.opset19
    zero = helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, [], [0.0])
    zero_point = opset.Constant(value=zero)
    quantized = opset.QuantizeLinear(x, scale, zero_point)
    return opset.DequantizeLinear(quantized, scale, zero_point)


ROUND_TO_FLOAT8 = torch.ops.streamcam.round_to_float8.default
"""The operator of `round_to_float8` in an exported program."""


class Float8Layer(nn.Module):
    """A layer whose input and weights are rounded to float8."""

    def __init__(self, layer: nn.Module, largest: Tensor) -> None:
        super().__init__()
        weight: Any = layer.weight
        self.layer = layer
        self.scale: Tensor
        self.register_buffer("scale", _scale(largest).to(weight))
        self.scale_of_weight: Tensor
        self.register_buffer("scale_of_weight", _scale(_largest(weight)).to(weight))

    def forward(self, x: Tensor) -> Tensor:
        weight = round_to_float8(self.layer.weight, self.scale_of_weight)
        result: Tensor = functional_call(
            self.layer, {"weight": weight}, round_to_float8(x, self.scale)
        )
        return result


def _scale(largest: Tensor) -> Tensor:
    """Return the least power of two whose product with `LARGEST` is at least `largest`."""
    return torch.exp2(torch.ceil(torch.log2(largest.float().clamp(min=TINY) / LARGEST)))


def _largest(x: Tensor) -> Tensor:
    return x.detach().abs().max()


def _ranges(flat: FlatStage, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the largest input magnitude of each layer that is large enough, by its name."""
    ranges: dict[str, Tensor] = {}

    def observe(name: str, x: Tensor) -> None:
        # Inputs of one row, such as time embeddings, are next to no work.
        if x.ndim > 2:
            largest = _largest(x)
            ranges[name] = torch.maximum(ranges.get(name, largest), largest)

    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: observe(name, args[0]))
        for name, layer in flat.stage.named_modules()
        if _is_large(layer)
    ]
    try:
        for seed in SEEDS:
            flat(*probe_inputs(inputs, seed))
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


def _is_large(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        sides = (layer.in_channels, layer.out_channels)
        ungrouped = layer.groups == 1
    elif isinstance(layer, nn.Linear):
        sides, ungrouped = (layer.in_features, layer.out_features), True
    else:
        return False
    return ungrouped and all(side > CHANNELS and side % CHANNELS == 0 for side in sides)
