"""Fixed memory: new values where the first ones were."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from streamcam.engines.fixed_memory import FixedMemory


class Pair(NamedTuple):
    states: Tensor
    pooled: Tensor | None


def pair(value: float) -> Pair:
    """Return one row for all of three, and nothing."""
    return Pair(torch.full((1, 2, 4), value).expand(3, -1, -1), None)


def test_new_values_are_found_where_the_first_ones_were() -> None:
    memory = FixedMemory(fixed=True)
    first = memory("prompt", pair(1.0))
    again = memory("prompt", pair(2.0))
    assert again is first
    assert torch.equal(first.states, torch.full((3, 2, 4), 2.0))


def test_what_is_given_stays_its_owners() -> None:
    memory, given = FixedMemory(fixed=True), torch.ones(2)
    kept = memory("latents", given)
    memory("latents", torch.zeros(2))
    assert torch.equal(given, torch.ones(2))
    assert torch.equal(kept, torch.zeros(2))


def test_one_row_for_all_rows_stays_one() -> None:
    memory = FixedMemory(fixed=True)
    kept = memory("prompt", pair(1.0)).states
    assert kept.shape == (3, 2, 4)
    assert kept.untyped_storage().nbytes() == 4 * 8


def test_names_do_not_share_memory_and_a_value_may_be_its_own_successor() -> None:
    memory = FixedMemory(fixed=True)
    a, b = memory("a", torch.ones(2)), memory("b", torch.ones(2))
    assert a.data_ptr() != b.data_ptr()
    assert memory("a", a) is a


def test_memory_that_need_not_be_fixed_copies_nothing() -> None:
    memory, given = FixedMemory(fixed=False), torch.ones(2)
    assert memory("latents", given) is given


class Copies(TorchDispatchMode):
    """Notes of each copy whether the CPU goes on before it is made."""

    def __init__(self) -> None:
        super().__init__()
        self.non_blocking: list[bool] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.copy_.default:
            self.non_blocking.append(len(args) > 2 and args[2])
        return func(*args, **(kwargs or {}))


def test_the_cpu_waits_for_no_copy() -> None:
    memory = FixedMemory(fixed=True)
    memory("prompt", pair(1.0))
    with Copies() as copies:
        memory("prompt", pair(2.0))
    assert copies.non_blocking == [True]
