"""Layers that change hands between ranks while a video runs (StreamDiffusionV2, section 4).

A chunk runs all its steps on the partition that it began with, so a new one reaches the rows one
after the other. Before it reaches a row, that row's caches of the layers that move are sent from
their old rank to their new one, which waits for each only when it comes to run it; the weights have
been loaded long before. Meanwhile both ranks hold them.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Call, Layers
from streamcam.video.device_timer import Stopwatch
from streamcam.video.kv_cache import KVCache
from streamcam.video.parallel.partition import Partition, moves
from streamcam.video.wan import CausalWan

Load = Callable[[range], Sequence[Any]]
"""Loads layers by their numbers, on the device."""


class Transport(Protocol):
    """Takes tensors from rank to rank, aside from the calls."""

    rank: int

    def isend(self, tensor: Tensor, target: int) -> Callable[[], None]:
        """Begin to send; what is returned waits until that is done."""

    def irecv(self, tensor: Tensor, source: int) -> Callable[[], None]:
        """Begin to receive into `tensor`; what is returned waits until it is there."""


class Arrival(NamedTuple):
    """Caches on their way here."""

    row: int
    layers: range
    payload: Tensor
    """Keys and values, ``(2, layers, slots, tokens, heads, head_dim)``."""
    wait: Callable[[], None]


class Shared(Layers):
    """The layers of one rank: in each row those of the partition that the row is on.

    Args:
        model: the layers that it begins with.
        courier: between the ranks.
        load: the weights of others.
    """

    def __init__(self, model: CausalWan, transport: Transport, load: Load) -> None:
        super().__init__(model)
        self.watch = self.stopwatch = Stopwatch(model.device)
        self.prepared = 0
        """The newest version whose layers are all here."""
        self._transport, self._load = transport, load
        self._held = self._coming = model.own
        self._runs: list[range] = []
        self._used = 1
        self._arrivals: list[Arrival] = []
        self._sent: list[Callable[[], None]] = []
        self._loader = ThreadPoolExecutor(1, "layers")
        self._loading: tuple[int, range, Future[Sequence[Any]]] | None = None

    def prepare(self, version: int, partition: Partition) -> None:
        """Begin to load what a partition needs here beside what there is."""
        for wait in self._sent:  # Long since done: the last partition is in force everywhere.
            wait()
        self._sent.clear()
        lacking = self.model.lacks(_hull(self._held, partition[self._transport.rank]))
        self._coming = partition[self._transport.rank]
        # A thread is outside of inference mode: what is made in it would be compiled once more.
        job = self._loader.submit(lambda: self._load(lacking) if lacking else ())
        self._loading = (version, lacking, job)

    def look(self) -> None:
        """Take over the layers that were being loaded, if they are there."""
        if self._loading and self._loading[2].done():
            (self.prepared, lacking, loaded), self._loading = self._loading, None
            self.model.take(lacking.start, loaded.result())

    def begin_on(self, rows: int, shape: CacheShape, partition: Partition) -> None:
        """Begin a video with empty caches, all rows on `partition`."""
        self._arrive()
        own = partition[self._transport.rank]
        self.model.keep(_hull(own, self._coming))
        if (rows, shape, own) != (self._rows, self._shape, self._held):
            self.cache = self.model.new_cache(rows, shape.slots, own)
        self._rows, self._shape, self._held = rows, shape, own
        self._runs, self._used = [own] * rows, 1

    def tell(self, embeds: Tensor) -> None:
        """Take the prompt in, ``(1, L, text_dim)``."""
        self._embeds = embeds
        self._text = self.model.prompt(embeds, self._held)

    def spread(self, source: int, rows: int) -> None:
        """Copy the cache of the row `source` to the first `rows`, the ones used from now on."""
        self._arrive()
        super().spread(source, rows)
        self._runs, self._used = [self._runs[source]] * self._rows, rows
        self._settle()

    def hand_over(self, row: int, old: Partition, new: Partition) -> None:
        """Take a row from one partition to another, with the caches that move."""
        rank = self._transport.rank
        self._hold(_hull(self._held, new[rank]))
        for move in moves(old, new):
            if rank == move.source:
                payload = torch.stack([kept[:, row] for kept in self._kept(move.layers)])
                self._sent.append(self._transport.isend(payload, move.target))
            elif rank == move.target:
                shape = (2, len(move.layers), *self.cache.keys.shape[2:])
                payload = self.cache.keys.new_empty(shape)
                wait = self._transport.irecv(payload, move.source)
                self._arrivals.append(Arrival(row, move.layers, payload, wait))
        self._runs[row] = new[rank]

    def run(self, call: Call, x: Tensor) -> Tensor:
        """Return what the layers here make of latents or tokens, and update the caches."""
        if any(call.shifts):
            self._arrive()  # Keys are turned in all layers at once.
        with self.watch("layers"):
            made = [self._run_alike(part, x[a:b]) for a, b, part in self._alike(call)]
        self._settle()
        return made[0] if len(made) == 1 else torch.cat(made)

    def _alike(self, call: Call) -> Iterator[tuple[int, int, Call]]:
        """Yield the parts of a call whose rows run the same layers, and where they are in it."""
        first = 0
        for _, group in groupby(self._runs[call.row : call.rows.stop]):
            last = first + len(list(group))
            yield first, last, call.only(first, last)
            first = last

    def _run_alike(self, call: Call, x: Tensor) -> Tensor:
        layers = self._runs[call.row]
        start, stop = layers.start - self._held.start, layers.stop - self._held.start
        cache = self._kept(layers).only(call.row, call.rows.stop)
        awaited = _Awaited(cache, layers, call.rows, self._arrive) if self._arrivals else cache
        return self._run(call, x, self._text[start:stop], awaited, layers)

    def _kept(self, layers: range) -> KVCache:
        return self.cache.layers(layers.start - self._held.start, layers.stop - self._held.start)

    def _arrive(self, rows: range | None = None, layer: int | None = None) -> None:
        """Put caches in their place that have been on their way here, waiting if need be."""
        for arrival in list(self._arrivals):
            if (rows is None or arrival.row in rows) and (layer is None or layer in arrival.layers):
                arrival.wait()
                for kept, new in zip(self._kept(arrival.layers), arrival.payload, strict=True):
                    kept[:, arrival.row] = new
                self._arrivals.remove(arrival)

    def _hold(self, layers: range) -> None:
        """Have caches for these layers, and keep what is in them."""
        if layers == self._held:
            return
        assert self._shape is not None
        old, before, self._held = self._held, self.cache, layers
        self.cache = self.model.new_cache(self._rows, self._shape.slots, layers)
        both = range(max(old.start, layers.start), min(old.stop, layers.stop))
        former = before.layers(both.start - old.start, both.stop - old.start)
        for kept, known in zip(self._kept(both), former, strict=True):
            kept.copy_(known)
        self._text = self.model.prompt(self._embeds, layers)

    def _settle(self) -> None:
        """Let go of the layers that have moved, once no row in use runs them here."""
        own = self._runs[0]
        if own != self._held and not self._arrivals and set(self._runs[: self._used]) == {own}:
            self._hold(own)
            self.model.keep(_hull(own, self._coming))


class _Awaited(NamedTuple):
    """Caches of which some are still on their way."""

    cache: KVCache
    layers: range
    rows: range
    arrive: Callable[[range, int], None]

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of one layer, once they are there."""
        self.arrive(self.rows, self.layers[index])
        return self.cache.layer(index)


def _hull(a: range, b: range) -> range:
    return range(min(a.start, b.start), max(a.stop, b.stop))
