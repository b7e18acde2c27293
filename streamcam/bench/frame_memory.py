"""Memory that a call takes besides what is there before it."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Return the most memory of `device` that `call` takes at a time, for tensors of its own."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = int(torch.cuda.memory_allocated(device))
        call()
        return int(torch.cuda.max_memory_allocated(device)) - before
    with HeldTensors() as held:
        call()
    return int(held.peak)


def weight_bytes(modules: Iterable[object]) -> int:
    """Return the memory of all parameters and buffers, each once, however many share it."""
    tensors = (
        tensor
        for module in modules
        if isinstance(module, nn.Module)
        for tensor in (*module.parameters(), *module.buffers())
    )
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


class HeldTensors(TorchDispatchMode):  # type: ignore[misc]
    """Counts the bytes of tensors that are made on a CPU, while they are held.

    What an operation takes inside of itself is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if _is_tensor(t)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if _is_tensor(leaf) and leaf.untyped_storage()._cdata not in given:
                self._hold(leaf)
        return result

    def _hold(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return
        self._seen.add(key)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.held -= size


def _is_tensor(leaf: object) -> bool:
    return isinstance(leaf, Tensor)
