"""GPUs, the engines on them, and the choice of a place for a stream.

All GPUs are columns of arrays, so that a choice among a thousand of them takes microseconds. A
node that is gone leaves its columns to the next one.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.scaling_simulation.assumptions import Assumptions, Kind

MOST_STREAMS = 64
"""Streams of one model on a GPU."""


class Place(NamedTuple):
    """GPU that a stream runs on."""

    gpu: int
    is_warm: bool
    """Whether the model was there, though it may still be loading."""
    loaded_at: float
    """When the model is loaded, if it was not before."""


class Cluster:
    """Nodes of GPUs, at most `nodes` of them at a time."""

    def __init__(self, assumptions: Assumptions, kinds: list[Kind], nodes: int) -> None:
        self._kinds = kinds
        """Kind of each model."""
        self._memory = np.array([kind.memory_gb for kind in kinds])
        self._cold_s = assumptions.cold_s
        self._capacity_gb = assumptions.card.memory_gb
        self._per_node = assumptions.gpus_per_node
        self._packing = assumptions.packing
        numbers = range(MOST_STREAMS + 2)
        loads = {k: np.array([k.load(n) for n in numbers]) for k in set(kinds)}
        self._more = np.array([np.append(np.diff(loads[k]), np.inf) for k in kinds])
        """Load that one stream more of a model adds, by how many there are."""
        gpus = nodes * self._per_node
        self._counts = np.zeros((len(kinds), gpus), np.int64)
        self._next = np.repeat(self._more[:, :1], gpus, axis=1)
        """Load that one stream more adds on each GPU."""
        self._used = 0
        """GPUs from the first on that have ever run."""
        self._loaded = np.zeros((len(kinds), gpus), bool)
        self._loaded_at = np.zeros((len(kinds), gpus))
        self._used_at = np.zeros((len(kinds), gpus))
        self._in_use_gb = np.zeros(gpus)
        self.load = np.zeros(gpus)
        self.is_open = np.zeros(gpus, bool)
        """Whether a GPU takes more streams."""
        self.streams: list[set[int]] = [set() for _ in range(gpus)]
        self.zones: dict[int, int] = {}
        """Zone of each node that runs."""
        self._free = list(range(nodes - 1, -1, -1))

    @property
    def gpus(self) -> int:
        """GPUs that run."""
        return len(self.zones) * self._per_node

    def of_node(self, node: int) -> slice:
        """Return the columns of a node."""
        return slice(node * self._per_node, (node + 1) * self._per_node)

    def add_node(self, zone: int) -> int:
        """Add an empty node in a zone; return its number."""
        node = self._free.pop()
        self.zones[node] = zone
        columns = self.of_node(node)
        self._used = max(self._used, columns.stop)
        self.is_open[columns] = True
        return node

    def remove_node(self, node: int) -> list[int]:
        """Remove a node; return the streams that it had."""
        columns = self.of_node(node)
        lost = self.streams_of(node)
        del self.zones[node]
        self._free.append(node)
        for array in (self._counts, self._loaded, self._loaded_at, self._used_at):
            array[:, columns] = 0
        self._next[:, columns] = self._more[:, :1]
        for row in (self._in_use_gb, self.load, self.is_open):
            row[columns] = 0
        for each in self.streams[columns]:
            each.clear()
        return lost

    def set_open(self, node: int, *, is_open: bool) -> None:
        """Let a node take streams, or drain it."""
        self.is_open[self.of_node(node)] = is_open

    def nodes(self, *, is_open: bool) -> list[int]:
        """Return the nodes that take streams, or those that are drained."""
        opened = self.is_open[:: self._per_node].tolist()
        return [node for node in self.zones if opened[node] == is_open]

    def node_load(self, nodes: Iterable[int]) -> dict[int, float]:
        """Return the load of nodes, in GPUs."""
        return {node: float(self.load[self.of_node(node)].sum()) for node in nodes}

    def streams_of(self, node: int) -> list[int]:
        """Return the streams of a node."""
        return [stream for each in self.streams[self.of_node(node)] for stream in sorted(each)]

    def is_empty(self, node: int) -> bool:
        """Return whether a node has no stream."""
        return not any(self.streams[self.of_node(node)])

    def place(
        self, stream: int, model: int, now: float, *, warm_only: bool = False
    ) -> Place | None:
        """Give a stream a place, where its model is if possible; None if there is none.

        With `warm_only` the model must be loaded there already.
        """
        used = slice(self._used)
        more, load = self._next[model, used], self.load[used]
        fits = self.is_open[used] & (load + more <= 1 + 1e-9)
        warm = fits & self._loaded[model, used]
        if warm_only:
            warm &= self._loaded_at[model, used] <= now
        is_warm = bool(warm.any())
        if not is_warm:
            if warm_only:
                return None
            warm = fits & (self._in_use_gb[used] + self._memory[model] <= self._capacity_gb)
            if not warm.any():
                return None
        rank = -load if self._packing == "spread" else load
        if self._packing == "shared":
            rank = load - 100 * more
        gpu = int(np.argmax(np.where(warm, rank, -np.inf)))
        if not is_warm:
            self._loaded_at[model, gpu] = now + self._cold_s
        self._take(gpu, model, now)
        self.streams[gpu].add(stream)
        return Place(gpu, is_warm, float(self._loaded_at[model, gpu]))

    def release(self, stream: int, model: int, gpu: int, now: float) -> None:
        """Take a stream off its GPU; its model stays loaded."""
        self.streams[gpu].discard(stream)
        count = self._counts[model, gpu] - 1
        self._counts[model, gpu] = count
        self._used_at[model, gpu] = now
        self._next[model, gpu] = self._more[model][count]
        self.load[gpu] -= self._more[model][count]
        if not count:
            self._in_use_gb[gpu] -= self._memory[model]

    def _take(self, gpu: int, model: int, now: float) -> None:
        count = self._counts[model, gpu]
        self.load[gpu] += self._more[model][count]
        if not count:
            self._in_use_gb[gpu] += self._memory[model]
        self._counts[model, gpu] = count + 1
        self._next[model, gpu] = self._more[model][count + 1]
        self._loaded[model, gpu] = True
        self._used_at[model, gpu] = now
        self._evict(gpu)

    def _evict(self, gpu: int) -> None:
        """Unload models that nobody uses, the oldest first, until the rest fits."""
        while self._memory[self._loaded[:, gpu]].sum() > self._capacity_gb:
            idle: NDArray[np.int64] = np.flatnonzero(
                self._loaded[:, gpu] & (self._counts[:, gpu] == 0)
            )
            self._loaded[idle[np.argmin(self._used_at[idle, gpu])], gpu] = False
