"""A fake of CUDA graphs on the CPU, which refuses what CUDA refuses.

While a call is recorded nothing is computed: operations are written down with the memory that they
read and write. A replay does them again on that very memory, whatever has happened to the names
that it had in Python. So a call that reads what has moved since gives other results than a plain
call, as on a GPU.
"""

import weakref
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

Call = Callable[[], None]

WAITS = {
    "_local_scalar_dense",
    "item",
    "is_nonzero",
    "equal",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_consecutive",
}
"""Operations whose results the CPU waits for."""
FROM_CPU = {"lift_fresh", "_pin_memory"}
"""Operations that begin with pageable memory of the CPU."""


class NotPermitted(RuntimeError):
    """What CUDA raises in a capture, which it then gives up."""


class FakeGraphs:
    """Records calls; see `streamcam.engines.graphed_calls.Capture`."""

    def __init__(self) -> None:
        self.captures = self.launches = 0
        self.capturing = self.replaying = False

    def __call__(self, call: Call) -> Call:
        if self.capturing:
            raise NotPermitted("a capture inside a capture")
        recording = _Recording(self)
        self.capturing = True
        try:
            with recording:
                call()
        finally:
            self.capturing = False
        recording.check_nothing_is_held()
        recording.spoil()
        self.captures += 1

        def replay() -> None:
            if self.capturing:
                raise NotPermitted("a graph launched inside a capture")
            self.launches += 1
            self.replaying = True
            try:
                recording.replay()
            finally:
                self.replaying = False

        return replay


class _Recording(TorchDispatchMode):
    """The operations of one call, with their memory."""

    def __init__(self, graphs: FakeGraphs) -> None:
        super().__init__()
        self._graphs = graphs
        self._operations: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._handed_out: list[weakref.ref[Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        _refuse(func, args, kwargs)
        written = _written(func, args, kwargs)
        if written:
            self._operations.append((func, _own(args), _own(kwargs), []))
            return _results(func, written)
        result = func(*args, **kwargs)
        known = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        new = [t for t in _tensors(result) if t.untyped_storage()._cdata not in known]
        if new:
            self._operations.append((func, _own(args), _own(kwargs), _tensors(_own(result))))
            self._handed_out += [weakref.ref(t) for t in new]
        return result

    def check_nothing_is_held(self) -> None:
        """Refuse a call that has left memory of the graph to others: a replay overwrites it."""
        if held := [tuple(t.shape) for ref in self._handed_out if (t := ref()) is not None]:
            raise NotPermitted(f"tensors of the graph are used outside: {held}")

    def spoil(self) -> None:
        """Fill the graph's own memory, as nothing was computed yet."""
        for *_, results in self._operations:
            for result in results:
                if result.is_floating_point():
                    result.fill_(float("nan"))

    @torch.inference_mode()
    def replay(self) -> None:
        for func, args, kwargs, results in self._operations:
            again = _tensors(func(*args, **kwargs))
            for result, value in zip(results, again, strict=bool(results)):
                if value.data_ptr() != result.data_ptr():
                    result.copy_(value)


def _refuse(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    name = func._schema.name.removeprefix("aten::")
    if name in WAITS or (name == "repeat_interleave" and len(_tensors(args)) == 2):
        raise NotPermitted(f"{name} waits for the device")
    if name in FROM_CPU:
        raise NotPermitted(f"{name} copies from pageable memory")
    if torch.Tag.nondeterministic_seeded in func.tags and not _is_exempt(name, args, kwargs):
        raise NotPermitted(f"{name} draws from a generator that is not registered")
    if name in ("index", "index_put_"):
        indices = _tensors(args[1])
        if any(index.dtype == torch.bool for index in indices):
            raise NotPermitted("a mask is counted, which waits for the device")


def _is_exempt(name: str, args: Any, kwargs: dict[str, Any]) -> bool:
    """Return whether an operation could draw but does not: dropout that is off."""
    return "attention" in name or (name == "dropout" and not args[2]) or bool(kwargs.get("p") == 0)


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors that an operation writes to."""
    arguments = func._schema.arguments
    given = dict(zip([a.name for a in arguments], args, strict=False)) | kwargs
    return [
        tensor
        for a in arguments
        if a.alias_info is not None and a.alias_info.is_write and a.name in given
        for tensor in _tensors(given[a.name])
    ]


def _results(func: Any, written: list[Tensor]) -> Any:
    count = len(func._schema.returns)
    if count == 0:
        return None
    return written[0] if count == 1 else tuple(written[:count])


def _own(tree: Any) -> Any:
    """Return tensors of its own on the memory of those in `tree`, strides included."""
    return tree_map_only(Tensor, torch.ops.aten.alias.default, tree)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


class Launches(TorchDispatchMode):
    """Counts the operations that launch something, but those in the replay of a graph."""

    def __init__(self, graphs: FakeGraphs) -> None:
        super().__init__()
        self._graphs = graphs
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        is_free = func.is_view or name.startswith("empty") or name in ("detach", "new_empty")
        if not is_free and not self._graphs.replaying:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def counting_launches(graphs: FakeGraphs) -> Any:
    with torch.inference_mode(), Launches(graphs) as seen:
        yield seen
