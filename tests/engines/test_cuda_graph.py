"""CUDA graphs: whatever fails in a capture, the process goes on as if it had not begun.

torch's own state around a capture is played by a fake, after `CUDAGraph`, `CUDAGeneratorState` and
the two caching allocators of torch 2.11; `tests/diffusion/test_cuda.py` runs the same on a GPU.
"""

import ctypes
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch

from streamcam.engines.cuda_graph import CudaCapture

GPU = torch.device("cuda", 0)


class State:
    """The state of a generator, which any number of generators may share."""

    def __init__(self, offset: int = 0) -> None:
        self.offset, self.capturing = offset, False


class Generator:
    def __init__(self, state: State) -> None:
        self.state = state

    def graphsafe_get_state(self) -> "Generator":
        return Generator(self.state)

    def clone_state(self) -> "Generator":
        return Generator(State(self.state.offset))

    def graphsafe_set_state(self, other: "Generator") -> None:
        self.state = other.state

    def draw(self) -> int:
        if self.state.capturing:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly")
        self.state.offset += 4
        return self.state.offset


class Cuda:
    """What torch knows of one GPU."""

    def __init__(self) -> None:
        self.generator = Generator(State())
        self.stream = "default"
        self.capturing: str | None = None
        self.invalid = False
        self.diverting: list[tuple[int, int]] = []
        self.pinned_diverting: list[tuple[tuple[int, int], weakref.ref[Any]]] = []
        self.pools: dict[tuple[int, int], int] = {}
        self.handles = 0
        self.fails_at = ""
        self.replayed: list[Any] = []

    def fail(self, place: str) -> None:
        if place == self.fails_at:
            self.fails_at = ""
            raise RuntimeError(f"CUDA error at {place}")

    @contextmanager
    def on(self, stream: str) -> Iterator[None]:
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    def handle(self) -> tuple[int, int]:
        self.handles += 1
        return (0, self.handles)

    def end_allocate(self, _: int, pool: tuple[int, int]) -> None:
        if pool not in self.diverting:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.diverting.remove(pool)

    def release(self, _: int, pool: tuple[int, int]) -> None:
        self.pools[pool] -= 1
        assert self.pools[pool] >= 0


class Graph:
    current: Cuda

    def __init__(self) -> None:
        self.cuda = Graph.current
        self.state: State | None = None
        self.ended = self.ready = False
        self.pool = (0, 0)

    def capture_begin(self, pool: tuple[int, int], capture_error_mode: str) -> None:
        assert capture_error_mode == "thread_local"
        cuda, self.pool = self.cuda, pool
        assert cuda.stream != "default"
        assert cuda.pools.get(pool) != 0, "a pool that is gone cannot be used again"
        self.state = cuda.generator.state
        self.state.capturing = True
        cuda.pools[pool] = cuda.pools.get(pool, 0) + 1
        cuda.diverting.append(pool)
        assert pool not in [diverted for diverted, _ in cuda.pinned_diverting]
        cuda.pinned_diverting.append((pool, weakref.ref(self)))
        cuda.fail("begin")
        cuda.capturing, cuda.invalid = cuda.stream, False

    def capture_end(self) -> None:
        cuda = self.cuda
        cuda.fail("end")
        assert cuda.stream != "default", "capture must end on the same stream it began on"
        was_capturing, cuda.capturing = cuda.capturing, None
        if was_capturing is None or cuda.invalid:
            raise RuntimeError("CUDA error: operation failed due to a previous error")
        cuda.end_allocate(0, self.pool)
        cuda.pinned_diverting = [e for e in cuda.pinned_diverting if e[0] != self.pool]
        assert self.state is not None
        self.state.capturing = False
        self.ended = True
        cuda.fail("instantiate")
        self.ready = True

    def reset(self) -> None:
        if self.ended:
            self.cuda.release(0, self.pool)
        self.ended = False

    def replay(self) -> None:
        assert self.ready
        self.cuda.replayed.append(self)

    def __del__(self) -> None:
        self.reset()


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """Return the fake in the place of torch's own."""
    fake = Cuda()
    monkeypatch.setattr(Graph, "current", fake, raising=False)
    names: dict[str, Any] = {
        "CUDAGraph": Graph,
        "Stream": lambda _: "capture",
        "stream": fake.on,
        "device": lambda _: nullcontext(),
        "default_generators": (fake.generator,),
        "graph_pool_handle": fake.handle,
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
    }
    for name, value in names.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", fake.end_allocate, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", fake.release, raising=False)
    return fake


def failing(cuda: Cuda, place: str) -> Any:
    """Return a call during which, or around which, a capture fails."""

    def call() -> None:
        if place == "call":
            raise ValueError("an engine that raises")
        if place == "synchronise":
            cuda.invalid = True
            raise RuntimeError("operation not permitted when stream is capturing")
        if place == "unseen":
            cuda.invalid = True

    cuda.fails_at = place
    return call


@pytest.mark.parametrize("place", ["begin", "call", "synchronise", "unseen", "end", "instantiate"])
def test_a_capture_that_fails_anywhere_leaves_torch_as_it_was(cuda: Cuda, place: str) -> None:
    capture = CudaCapture(GPU)
    state, offset = cuda.generator.state, cuda.generator.draw()
    with pytest.raises((RuntimeError, ValueError)):
        capture(failing(cuda, place))
    gc.collect()
    assert cuda.generator.state is state
    assert cuda.generator.draw() == offset + 4
    assert cuda.stream == "default"
    assert cuda.capturing is None
    assert cuda.diverting == []
    assert all(users == 0 for users in cuda.pools.values())
    # Those that the allocator of pinned memory still asks are there to be asked.
    asked = [graph() for _, graph in cuda.pinned_diverting]
    assert None not in asked
    replay = capture(lambda: None)
    replay()
    assert len(cuda.replayed) == 1
    for graph in asked:
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(graph))


def test_graphs_share_one_pool_while_any_of_them_is_in_use(cuda: Cuda) -> None:
    capture = CudaCapture(GPU)
    first, second = capture(lambda: None), capture(lambda: None)
    assert cuda.pools == {(0, 1): 2}
    del first
    third = capture(lambda: None)
    assert cuda.pools == {(0, 1): 2}
    del second, third
    gc.collect()
    capture(lambda: None)
    gc.collect()
    assert cuda.pools == {(0, 1): 0, (0, 2): 0}


def test_no_garbage_is_collected_in_a_capture_and_it_is_again_afterwards(cuda: Cuda) -> None:
    seen: list[bool] = []

    def call() -> None:
        seen.append(gc.isenabled())
        cuda.invalid = True

    with pytest.raises(RuntimeError):
        CudaCapture(GPU)(call)
    assert (seen, gc.isenabled()) == ([False], True)


def test_draws_in_a_graph_do_not_move_the_default_generator(cuda: Cuda) -> None:
    before = cuda.generator.state.offset

    def call() -> None:
        cuda.generator.state.offset += 4

    CudaCapture(GPU)(call)
    assert cuda.generator.state.offset == before
