"""Tensors that stay where they are: new values are copied into the memory of the first ones."""

from collections.abc import Hashable
from typing import Any, TypeVar

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Tensors = TypeVar("Tensors")
"""A tensor, or tuples of tensors and None."""


class FixedMemory:
    """Keeps tensors by name, each in memory of its own, for calls that are recorded as graphs.

    Args:
        fixed: whether memory must stay in place; otherwise nothing is copied.
    """

    def __init__(self, *, fixed: bool) -> None:
        self._fixed = fixed
        self._kept: dict[Hashable, Any] = {}

    def __call__(self, name: Hashable, new: Tensors) -> Tensors:
        """Return `new`, in the memory of what had that name before."""
        if not self._fixed:
            return new
        if name not in self._kept:
            self._kept[name] = tree_map(_copied, new)
        else:
            overwrite(self._kept[name], new)
        kept: Tensors = self._kept[name]
        return kept


def overwrite(kept: object, new: object) -> None:
    """Copy the values of `new` into the tensors `kept`, of the same structure and shapes."""
    for mine, theirs in zip(tree_leaves(kept), tree_leaves(new), strict=True):
        if mine is not None and mine is not theirs:
            # A CPU that waited here would launch nothing until the device has nothing left to do.
            _unexpanded(mine).copy_(_unexpanded(theirs), non_blocking=True)


def _copied(tensor: Tensor | None) -> Tensor | None:
    # What is one row for all rows stays so: there is less to copy.
    return None if tensor is None else _unexpanded(tensor).clone().expand(tensor.shape)


def _unexpanded(tensor: Tensor) -> Tensor:
    """Return the part of `tensor` that all its other rows are expanded from."""
    for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        if stride == 0 and size > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor
