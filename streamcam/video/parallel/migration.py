"""Migration of layers between ranks while a video runs (StreamDiffusionV2, section 4).

A chunk runs all its steps on the partition that it began with, so a new partition reaches the rows
one after the other. Before it reaches a row, that row's caches of the layers that migrate are sent
from their old rank to their new one, which waits for each cache only when it comes to run the
layer; the weights have been loaded long before. Meanwhile both ranks hold the layers.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from streamcam.video.cache_plan import CacheShape
from streamcam.video.causal_layers import Call, Layers
from streamcam.video.device_timer import DeviceTimer
from streamcam.video.kv_cache import KVCache
from streamcam.video.parallel.partition import Partition, moves
from streamcam.video.wan import CausalWan

LoadLayers = Callable[[range], Sequence[Any]]
"""Loads layers by their numbers, on the device."""


class CacheTransport(Protocol):
    """Sends tensors between any two ranks, independently of the calls."""

    rank: int

    def isend(self, tensor: Tensor, target: int) -> Callable[[], None]:
        """Begin to send `tensor`; return a function that waits until it is sent."""

    def irecv(self, tensor: Tensor, source: int) -> Callable[[], None]:
        """Begin to receive into `tensor`; return a function that waits for it."""


class IncomingCache(NamedTuple):
    """Caches of one row that are being received."""

    row: int
    layers: range
    payload: list[Tensor]
    """The row of each tensor of the `KVCache`."""
    waits: list[Callable[[], None]]


class MigratingLayers(Layers):
    """Layers of one rank: in each row, those of the partition that the row runs on.

    Args:
        model: the layers that it begins with.
        transport: for caches, between the ranks.
        load: loads the weights of more layers.
    """

    def __init__(self, model: CausalWan, transport: CacheTransport, load: LoadLayers) -> None:
        super().__init__(model)
        self.timer = self.device_timer = DeviceTimer(model.device)
        self.prepared = 0
        """Newest version of the partition whose layers are all loaded here."""
        self._cache_transport, self._load = transport, load
        self._cached_layers = self._next_layers = model.layer_range
        self._row_layers: list[range] = []
        self._active_rows = 1
        self._incoming: list[IncomingCache] = []
        self._outgoing: list[Callable[[], None]] = []
        self._loader = ThreadPoolExecutor(1, "layers")
        self._loading: tuple[int, range, Future[Sequence[Any]]] | None = None

    def prepare(self, version: int, partition: Partition) -> None:
        """Begin to load the layers that a partition adds here, in the background."""
        for wait in self._outgoing:  # Long since done: the last partition is in force everywhere.
            wait()
        self._outgoing.clear()
        self._next_layers = partition[self._cache_transport.rank]
        missing = self.model.missing_layers(_span(self._cached_layers, self._next_layers))
        # A thread is outside of inference mode: what is made in it would be compiled once more.
        job = self._loader.submit(lambda: self._load(missing) if missing else ())
        self._loading = (version, missing, job)

    def adopt_loaded(self) -> None:
        """Add the layers loaded in the background to the model, if they are ready."""
        if self._loading and self._loading[2].done():
            (self.prepared, missing, loaded), self._loading = self._loading, None
            self.model.add_layers(missing.start, loaded.result())

    def reset_on(self, rows: int, shape: CacheShape, partition: Partition) -> None:
        """Start a video with empty caches, all rows on `partition`."""
        self._receive()
        own = partition[self._cache_transport.rank]
        self.model.keep_layers(_span(own, self._next_layers))
        if (rows, shape, own) != (self._rows, self._shape, self._cached_layers):
            self.cache = self.model.new_cache(rows, shape, own)
        self.cache.reset()
        self._rows, self._shape, self._cached_layers = rows, shape, own
        self._row_layers, self._active_rows = [own] * rows, 1

    def set_prompt(self, embeds: Tensor) -> None:
        """Set the prompt, ``(1, L, text_dim)``."""
        self._embeds = embeds
        self._text = self.model.prompt_kv(embeds, self._cached_layers)

    def copy_row(self, source: int, rows: int) -> None:
        """Copy the cache of row `source` to the first `rows`, the rows in use from now on."""
        self._receive()
        super().copy_row(source, rows)
        self._row_layers, self._active_rows = [self._row_layers[source]] * self._rows, rows
        self._drop_moved()

    def migrate(self, row: int, old: Partition, new: Partition) -> None:
        """Migrate a row from one partition to another, with the caches of the layers that move."""
        rank = self._cache_transport.rank
        self._resize_cache(_span(self._cached_layers, new[rank]))
        for move in moves(old, new):
            if rank not in (move.source, move.target):
                continue
            payload = [_contiguous_copy(tensor[:, row]) for tensor in self._cache_of(move.layers)]
            if rank == move.source:
                self._outgoing += [self._cache_transport.isend(x, move.target) for x in payload]
            else:
                waits = [self._cache_transport.irecv(x, move.source) for x in payload]
                self._incoming.append(IncomingCache(row, move.layers, payload, waits))
        self._row_layers[row] = new[rank]

    def run(self, call: Call, x: Tensor) -> Tensor:
        """Run the layers of this rank on latents or tokens, and update the caches."""
        if any(call.shifts) or call.order:
            self._receive()  # All layers' keys are rotated, or their sink tokens kept, at once.
        with self.timer("layers"):
            outputs = [self._run_group(part, x[a:b]) for a, b, part in self._groups(call)]
        self._drop_moved()
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _groups(self, call: Call) -> Iterator[tuple[int, int, Call]]:
        """Yield the parts of a call whose rows run the same layers, and their range of rows."""
        first = 0
        for _, group in groupby(self._row_layers[call.row : call.rows.stop]):
            last = first + len(list(group))
            yield first, last, call.select_rows(first, last)
            first = last

    def _run_group(self, call: Call, x: Tensor) -> Tensor:
        layers = self._row_layers[call.row]
        start = layers.start - self._cached_layers.start
        stop = layers.stop - self._cached_layers.start
        cache = self._cache_of(layers).select_rows(call.row, call.rows.stop)
        pending = (
            _PendingCache(cache, layers, call.rows, self._receive) if self._incoming else cache
        )
        return self._run(call, x, self._text[start:stop], pending, layers)

    def _cache_of(self, layers: range) -> KVCache:
        return self.cache.select_layers(
            layers.start - self._cached_layers.start, layers.stop - self._cached_layers.start
        )

    def _receive(self, rows: range | None = None, layer: int | None = None) -> None:
        """Wait for incoming caches, of these rows and this layer if given, and store them."""
        for incoming in list(self._incoming):
            if (rows is None or incoming.row in rows) and (
                layer is None or layer in incoming.layers
            ):
                for wait in incoming.waits:
                    wait()
                cache = self._cache_of(incoming.layers)
                for tensor, received in zip(cache, incoming.payload, strict=True):
                    tensor[:, incoming.row] = received
                self._incoming.remove(incoming)

    def _resize_cache(self, layers: range) -> None:
        """Allocate caches for these layers, and copy the content of those that were there."""
        if layers == self._cached_layers:
            return
        assert self._shape is not None
        old_layers, old_cache, self._cached_layers = self._cached_layers, self.cache, layers
        self.cache = self.model.new_cache(self._rows, self._shape, layers)
        both = range(max(old_layers.start, layers.start), min(old_layers.stop, layers.stop))
        old = old_cache.select_layers(both.start - old_layers.start, both.stop - old_layers.start)
        for new_tensor, old_tensor in zip(self._cache_of(both), old, strict=True):
            new_tensor.copy_(old_tensor)
        self._text = self.model.prompt_kv(self._embeds, layers)

    def _drop_moved(self) -> None:
        """Free the layers that have moved away, once no row in use runs them here."""
        own = self._row_layers[0]
        in_use = set(self._row_layers[: self._active_rows])
        if own != self._cached_layers and not self._incoming and in_use == {own}:
            self._resize_cache(own)
            self.model.keep_layers(_span(own, self._next_layers))


class _PendingCache(NamedTuple):
    """Caches of which some are still being received."""

    cache: KVCache
    layers: range
    rows: range
    receive: Callable[[range, int], None]

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of one layer, once they have been received."""
        self.receive(self.rows, self.layers[index])
        return self.cache.layer(index)


def _contiguous_copy(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def _span(a: range, b: range) -> range:
    return range(min(a.start, b.start), max(a.stop, b.stop))
