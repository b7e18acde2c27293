"""Count the memory that a computation would take on a device, on tensors without memory."""

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class CountedMemory(TorchDispatchMode):
    """Counts the bytes of what is computed on ``meta`` tensors while they are held; see `peak`.

    Attention counts as a GPU's fused kernels do it: without a matrix of all pairs.

    Args:
        module: its weights, and views of them, are not counted.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.held = self.peak = 0
        held_anyway = [*module.parameters(), *module.buffers()]
        self._seen = {tensor.untyped_storage()._cdata for tensor in held_anyway}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_flatten(result)[0]:
            if isinstance(leaf, Tensor):
                self._hold(leaf)
        return result

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._seen:
            return
        self._seen.add(key)
        self.held += storage.nbytes()
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, key, storage.nbytes())

    def _release(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.held -= size


def peak_bytes(module: torch.nn.Module, *args: Any, **kwargs: Any) -> int:
    """Return the peak of a call of a ``meta`` module, besides its weights and its inputs."""
    with pytest.MonkeyPatch.context() as patch, torch.no_grad(), CountedMemory(module) as counted:
        patch.setattr(
            "torch.nn.functional.scaled_dot_product_attention",
            lambda query, *_, **__: torch.empty_like(query),
        )
        module(*args, **kwargs)
    return counted.peak


def parameter_bytes(module: torch.nn.Module) -> int:
    """Return the bytes of all parameters and buffers of a module."""
    return sum(t.nbytes for t in [*module.parameters(), *module.buffers()])
