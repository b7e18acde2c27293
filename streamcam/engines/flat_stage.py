"""A stage as engines take it: plain tensors one after another, in shapes that never change."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

Stage = Callable[..., Tensor]
Run = Callable[..., Tensor]
"""Takes the tensors of one call, those that are there, and gives the result."""
Signature = tuple[tuple[torch.Size, torch.dtype] | None, ...]
"""What an engine is made for: the shape and the dtype of every tensor, None where there is none."""


class Flat(nn.Module):
    """A stage that takes its tensors flat: out of their tuples, without those that are None."""

    def __init__(self, stage: nn.Module, structure: TreeSpec, present: Sequence[bool]) -> None:
        super().__init__()
        self.stage = stage
        self._structure = structure
        self._present = list(present)

    @property
    def is_exact(self) -> bool:
        """Return whether all weights are in float32."""
        return all(p.dtype == torch.float32 for p in self.parameters() if p.is_floating_point())

    def of(self, stage: nn.Module) -> "Flat":
        """Return `stage`, taking its tensors as this one does."""
        return Flat(stage, self._structure, self._present)

    def exact(self) -> Run:
        """Return this stage in float32: itself, or a copy where its weights are in less.

        It takes what the stage takes, in any number format.
        """
        with torch.inference_mode(False), torch.no_grad():
            stage = self.stage if self.is_exact else copy.deepcopy(self.stage).float()
        flat = self.of(stage)

        def run(*tensors: Tensor) -> Tensor:
            result: Tensor = flat(*(t.float() if t.is_floating_point() else t for t in tensors))
            return result

        return run

    def forward(self, *tensors: Tensor) -> Tensor:
        given = iter(tensors)
        leaves = [next(given) if present else None for present in self._present]
        result: Tensor = self.stage(*tree_unflatten(leaves, self._structure))
        return result


def leaves_of(args: tuple[Any, ...]) -> tuple[list[Tensor], Signature, TreeSpec]:
    """Return the tensors in `args`, what sets these apart from other calls, and their structure."""
    leaves, structure = tree_flatten(args)
    signature = tuple(None if leaf is None else (leaf.shape, leaf.dtype) for leaf in leaves)
    return [leaf for leaf in leaves if leaf is not None], signature, structure
