"""Changes of a layer's weights by LoRA, LoCon, LoHa, LoKr and DoRA, as their papers have them.

LoRA: arXiv 2106.09685. LoCon, LoHa and LoKr: LyCORIS, arXiv 2309.14859. DoRA: arXiv 2402.09353.
All tensors are float32; a convolution's are ``(out, in, h, w)``.
"""

from collections.abc import Callable, Mapping, Set
from typing import NamedTuple

import torch
from torch import Tensor, nn

from streamcam.models.weights import not_finite

Tensors = Mapping[str, Tensor]
"""Tensors of one layer by role, see `lora_file.ROLES`."""

Scale = Callable[[int], float]
"""Returns alpha over rank, given the rank."""


BIAS_ROLES = {"diff_b", "up_bias"}


class MisfitError(ValueError):
    """A change has another shape than the weights."""


class Change(NamedTuple):
    """Change of a layer at scale 1: it adds ``up down x`` or ``weight x``, and ``bias``."""

    down: Tensor | None = None
    """``(r, in)``, of a convolution ``(r, in, h, w)``."""
    up: Tensor | None = None
    """``(out, r)``."""
    weight: Tensor | None = None
    """As the layer's own, where the change is not of low rank."""
    bias: Tensor | None = None


def change_of(layer: nn.Module, tensors: Tensors, scale_of: Scale) -> Change:
    """Return the change in `tensors` to `layer`, in its dtype and on its device.

    Raises:
        MisfitError: it is for another shape, or gives values that are no numbers.
    """
    change = Change()
    if weight_roles(tensors):
        parameter = parameter_of(layer, "weight")
        own = parameter.data.cpu()
        whole = updated_weight(own, tensors, scale_of, 1.0)
        factors = _factors(tensors, scale_of, own.shape) if isinstance(layer, LINEAR) else None
        if factors:
            down, up = (factor.to(parameter) for factor in factors)
            change = Change(down.contiguous(), up.contiguous())
        else:
            whole = updated_weight(own.float(), tensors, scale_of, 1.0)
            change = Change(weight=(whole - own.float()).to(parameter))
    if tensors.keys() & BIAS_ROLES:
        parameter = parameter_of(layer, "bias")
        own = parameter.data.float().cpu()
        added = updated_bias(own, tensors, scale_of, 1.0) - own
        change = change._replace(bias=added.to(parameter))
    return change


def weight_roles(tensors: Tensors) -> Set[str]:
    """Return the roles of those of `tensors` that change a layer's weight."""
    return tensors.keys() - BIAS_ROLES - {"alpha"}


def parameter_of(layer: nn.Module, attribute: str) -> nn.Parameter:
    """Return the weight or the bias of `layer`.

    Raises:
        MisfitError: it has none.
    """
    parameter = getattr(layer, attribute, None)
    if not isinstance(parameter, nn.Parameter):
        raise MisfitError(f"a {attribute} where the model has none")
    return parameter


def updated_weight(weight: Tensor, tensors: Tensors, scale_of: Scale, strength: float) -> Tensor:
    """Return `weight` with the change in `tensors`, times `strength`, in its own dtype.

    Raises:
        MisfitError: it is for weights of another shape, or gives values that are no numbers.
    """
    change = torch.zeros(())
    for has, product in PRODUCTS:
        if has in tensors:
            change = change + _fitted(product(tensors, scale_of), weight)
    if "diff" in tensors:
        change = change + _fitted(tensors["diff"], weight)
    plain = weight.float()
    if "magnitude" in tensors:
        change = _with_magnitude(plain + change, tensors["magnitude"]) - plain
    return _checked((plain + strength * change).to(weight.dtype))


def updated_bias(bias: Tensor, tensors: Tensors, scale_of: Scale, strength: float) -> Tensor:
    """Return `bias` with the change in `tensors`, times `strength`, in its own dtype.

    Raises:
        MisfitError: it is for a bias of another shape, or gives values that are no numbers.
    """
    change = torch.zeros(())
    if "up_bias" in tensors:
        rank = tensors["down"].shape[0]
        change = change + scale_of(rank) * _fitted(tensors["up_bias"], bias)
    if "diff_b" in tensors:
        change = change + _fitted(tensors["diff_b"], bias)
    return _checked((bias.float() + strength * change).to(bias.dtype))


LINEAR = (nn.Linear, nn.Conv2d)
"""Layers that can have a branch of low rank."""


def _factors(tensors: Tensors, scale_of: Scale, shape: torch.Size) -> tuple[Tensor, Tensor] | None:
    """Return ``down`` and ``up`` of a change that is of low rank, None of any other.

    LoHa of the ranks p and q is of the rank pq: the product, element by element, of two
    products is one of all pairs of their rows and of their columns.
    """
    roles = weight_roles(tensors)
    if roles <= {"down", "up", "mid"}:
        down, up = tensors["down"], scale_of(tensors["down"].shape[0]) * tensors["up"].flatten(1)
        if (mid := tensors.get("mid")) is not None:
            down = torch.einsum("pqhw,qi->pihw", mid, down.flatten(1))
    elif roles == {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}:
        a, b, c, d = (tensors[f"hada_w{name}"].flatten(1) for name in ("1_a", "1_b", "2_a", "2_b"))
        up = scale_of(b.shape[0]) * (a[:, :, None] * c[:, None, :]).flatten(1)
        down = (b[:, None] * d[None, :]).flatten(0, 1)
    else:
        return None
    rank = up.shape[1]
    inputs, outputs = shape[1:].numel(), shape[0]
    if rank * (inputs + outputs) >= inputs * outputs:
        return None  # The whole product is less work.
    return down.reshape(rank, *shape[1:]), up


def low_rank(tensors: Tensors, scale_of: Scale) -> Tensor:
    """Return the change by LoRA: up times down, with LoCon's core (``mid``) between them."""
    down, up = tensors["down"], tensors["up"]
    if (mid := tensors.get("mid")) is not None:
        product = torch.einsum("op,pqhw,qi->oihw", up.flatten(1), mid, down.flatten(1))
    elif down.dim() == 4:
        product = torch.einsum("or,rihw->oihw", up.flatten(1), down)
    else:
        product = up @ down
    return scale_of(down.shape[0]) * product


def hadamard(tensors: Tensors, scale_of: Scale) -> Tensor:
    """Return the change by LoHa: the product, element by element, of two of low rank."""
    one, two = (
        _factor(tensors[f"hada_w{i}_a"], tensors[f"hada_w{i}_b"], tensors.get(f"hada_t{i}"))
        for i in (1, 2)
    )
    return scale_of(tensors["hada_w1_b"].shape[0]) * one * two


def kronecker(tensors: Tensors, scale_of: Scale) -> Tensor:
    """Return the change by LoKr: a Kronecker product, of which a factor may be of low rank."""
    rank = None
    factors: list[Tensor] = []
    for name in ("lokr_w1", "lokr_w2"):
        if (whole := tensors.get(name)) is None:
            a, b = tensors[f"{name}_a"], tensors[f"{name}_b"]
            rank, whole = b.shape[0], _factor(a, b, tensors.get(name.replace("w2", "t2")))
        factors.append(whole)
    one, two = factors
    one = one.reshape(*one.shape, *[1] * (two.dim() - one.dim()))
    # With both factors whole there is no rank, and alpha says nothing.
    return (1.0 if rank is None else scale_of(rank)) * torch.kron(one, two)


def _factor(a: Tensor, b: Tensor, core: Tensor | None) -> Tensor:
    """Return ``a b``, or with the core ``(p, q, h, w)`` of a Tucker decomposition between."""
    if core is None:
        return a @ b.flatten(1) if b.dim() == 2 else torch.einsum("or,rihw->oihw", a, b)
    return torch.einsum("pqhw,po,qi->oihw", core, a, b)


PRODUCTS: tuple[tuple[str, Callable[[Tensors, Scale], Tensor]], ...] = (
    ("down", low_rank),
    ("hada_w1_a", hadamard),
    ("lokr_w1", kronecker),
    ("lokr_w1_a", kronecker),
)
"""The formula for each kind of layer, by a role that only this kind has."""


def _with_magnitude(directions: Tensor, magnitude: Tensor) -> Tensor:
    """Return `directions` with the lengths that DoRA has trained (equation 5).

    `magnitude` has a length for every output, or for every input if it is ``(1, in, ...)``.
    """
    by_input = magnitude.dim() > 1 and magnitude.shape[0] == 1 and directions.shape[0] != 1
    axis = 1 if by_input else 0
    if magnitude.numel() != directions.shape[axis]:
        raise MisfitError(f"{magnitude.numel()} lengths for {directions.shape[axis]} rows")
    others = [d for d in range(directions.dim()) if d != axis]
    shape = [magnitude.numel() if d == axis else 1 for d in range(directions.dim())]
    norm = directions.square().sum(others, keepdim=True).sqrt()
    return magnitude.reshape(shape) * directions / norm.clamp(min=torch.finfo(torch.float32).eps)


def _fitted(change: Tensor, weight: Tensor) -> Tensor:
    """Return `change` in the shape of `weight`; a convolution's may be a matrix ``(out, rest)``."""
    is_flat = change.dim() == 2 and change.shape == weight.flatten(1).shape
    if _essential(change) != _essential(weight) and not is_flat:
        raise MisfitError(f"{_shape(change)} where the model has {_shape(weight)}")
    return change.reshape(weight.shape)


def _essential(tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(tensor.shape)
    return shape[:2] if shape[2:] == (1, 1) else shape


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _checked(weight: Tensor) -> Tensor:
    if not_finite(weight):
        raise MisfitError("values that are no numbers")
    return weight
