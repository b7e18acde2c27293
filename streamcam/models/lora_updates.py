"""Changes of a layer's weights by LoRA, LoCon, LoHa, LoKr and DoRA, as their papers have them.

LoRA: arXiv 2106.09685. LoCon, LoHa and LoKr: LyCORIS, arXiv 2309.14859. DoRA: arXiv 2402.09353.
All tensors are float32; a convolution's are ``(out, in, h, w)``.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from streamcam.models.weights import not_finite

Tensors = Mapping[str, Tensor]
"""Tensors of one layer by role, see `lora_file.ROLES`."""

Scale = Callable[[int], float]
"""Returns alpha over rank, given the rank."""


class MisfitError(ValueError):
    """A change has another shape than the weights."""


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
    """Return `change` in the shape of `weight`; a 1x1 convolution is as good as a matrix."""
    if _essential(change) != _essential(weight):
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
