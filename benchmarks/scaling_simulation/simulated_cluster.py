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
    """Whether the model was loaded there."""


class Cluster:
    """Nodes of GPUs, at most `nodes` of them at a time."""

    def __init__(self, assumptions: Assumptions, kinds: list[Kind], nodes: int) -> None:
        self._kinds = kinds
        """Kind of each model."""
        self._memory = np.array([kind.memory_gb for kind in kinds])
        self._capacity_gb = assumptions.card.memory_gb
        self._per_node = assumptions.gpus_per_node
        self._packing = assumptions.packing
        numbers = range(MOST_STREAMS + 2)
        loads = {k: np.array([k.load(n) for n in numbers]) for k in set(kinds)}
        self._more = np.array([np.append(np.diff(loads[k]), np.inf) for k in kinds])
        """Load that one stream more of a model adds, by how many there are."""
        gpus = nodes * self._per_node
        self._counts = np.zeros((len(kinds), gpus), np.int64)
        self._loaded = np.zeros((len(kinds), gpus), bool)
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
        self.is_open[self.of_node(node)] = True
        return node

    def remove_node(self, node: int) -> list[int]:
        """Remove a node; return the streams that it had."""
        columns = self.of_node(node)
        lost = [stream for each in self.streams[columns] for stream in sorted(each)]
        del self.zones[node]
        self._free.append(node)
        for array in (self._counts, self._loaded, self._used_at):
            array[:, columns] = 0
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
        return [n for n in self.zones if self.is_open[n * self._per_node] == is_open]

    def node_load(self, nodes: Iterable[int]) -> dict[int, float]:
        """Return the load of nodes, in GPUs."""
        return {node: float(self.load[self.of_node(node)].sum()) for node in nodes}

    def is_empty(self, node: int) -> bool:
        """Return whether a node has no stream."""
        return not any(self.streams[self.of_node(node)])

    def place(self, stream: int, model: int, now: float) -> Place | None:
        """Give a stream a place, where its model is loaded if possible; None if there is none."""
        more = self._more[model][np.minimum(self._counts[model], MOST_STREAMS + 1)]
        fits = self.is_open & (self.load + more <= 1 + 1e-9)
        warm = fits & self._loaded[model]
        is_warm = bool(warm.any())
        if not is_warm:
            warm = fits & (self._in_use_gb + self._memory[model] <= self._capacity_gb)
            if not warm.any():
                return None
        rank = -self.load if self._packing == "spread" else self.load
        if self._packing == "shared":
            rank = rank - 100 * more
        gpu = int(np.argmax(np.where(warm, rank, -np.inf)))
        self._take(gpu, model, now)
        self.streams[gpu].add(stream)
        return Place(gpu, is_warm)

    def release(self, stream: int, model: int, gpu: int, now: float) -> None:
        """Take a stream off its GPU; its model stays loaded."""
        self.streams[gpu].discard(stream)
        count = self._counts[model, gpu] - 1
        self._counts[model, gpu] = count
        self._used_at[model, gpu] = now
        self.load[gpu] -= self._more[model][count]
        if not count:
            self._in_use_gb[gpu] -= self._memory[model]

    def _take(self, gpu: int, model: int, now: float) -> None:
        count = self._counts[model, gpu]
        self.load[gpu] += self._more[model][count]
        if not count:
            self._in_use_gb[gpu] += self._memory[model]
        self._counts[model, gpu] = count + 1
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
