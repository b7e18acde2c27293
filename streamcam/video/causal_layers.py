"""Transformer layers of this process, with a KV cache for each row of the stream batch."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from streamcam.engines.fixed_memory import FixedMemory, overwrite
from streamcam.engines.graphed_calls import GraphedCalls
from streamcam.video.cache_plan import CacheShape
from streamcam.video.kv_cache import KVCache, LayerCache
from streamcam.video.rotary import Rows, Times
from streamcam.video.wan import CausalWan, ChunkInputs

Timer = Callable[[str], AbstractContextManager[None]]

MakeGraphs = Callable[[str], GraphedCalls]
"""Makes what replays calls of that name as CUDA graphs."""

CPU = torch.device("cpu")


class Call(NamedTuple):
    """One pass of the transformer over neighbouring rows, in plain numbers.

    Lists have an entry for each row, lists of lists one for each of its frames.
    """

    row: int
    """First row."""
    timesteps: Times
    """Of every frame, or one for the row: 0 to 1000."""
    positions: Rows
    """Temporal position of every latent frame."""
    slots: Rows
    """Slot of the cache that takes each frame."""
    valid: Sequence[int]
    """Slots that hold frames once these are written."""
    frames: Rows = ()
    """Number of every latent frame, counted from the start of the stream."""
    order: Sequence[int] = ()
    """Of a single row whose past is computed again: the chunk in each of its valid slots; no chunk
    attends to later ones."""
    shifts: Sequence[int] = ()
    """Positions by which the keys other than sink tokens shift first."""
    sink_shifts: Rows = ()
    """Positions by which keys shift that replace a sink token; empty where none may."""
    sink_threshold: float = -1.0
    versions: Sequence[int] = ()
    """Version of the partition that each row's chunk runs on; empty for that of the row."""

    @property
    def rows(self) -> range:
        """Rows that it runs."""
        return range(self.row, self.row + len(self.slots))

    def select_rows(self, first: int, last: int) -> Self:
        """Return the call for rows `first` up to `last` alone, counted from its first row."""
        cut = slice(first, last)
        return self._replace(
            row=self.row + first,
            timesteps=self.timesteps[cut],
            positions=self.positions[cut],
            slots=self.slots[cut],
            valid=self.valid[cut],
            frames=self.frames[cut],
            shifts=self.shifts[cut],
            sink_shifts=self.sink_shifts[cut],
            versions=self.versions[cut],
        )


class _SteadyCall(NamedTuple):
    """Calls that differ in numbers alone: the memory that they read and write, and their graph."""

    x: Tensor
    chunk: ChunkInputs
    newest: tuple[Tensor, Tensor]
    flow: Tensor
    graphs: GraphedCalls


class Layers:
    """All layers of a model in this process.

    Attributes:
        pipeline_depth: calls from one until its result is due, itself included; here 1.
        version: of the partition of layers that new chunks run on; here there is only one.
        timer: context manager, by name of the work, around what the device does.

    Args:
        model: the layers.
        graphs: for the steady calls, over a full cache; None to run them plainly.
    """

    pipeline_depth = 1
    version = 0

    def __init__(self, model: CausalWan, graphs: MakeGraphs | None = None) -> None:
        self.model = model
        self.cache: KVCache
        self._make_graphs = graphs
        self._steady_calls: dict[Hashable, _SteadyCall] = {}
        self._text_memory = FixedMemory(fixed=graphs is not None)
        self.timer: Timer = lambda _: nullcontext()
        self._shape: CacheShape | None = None
        self._rows = 0

    def reset(self, rows: int, shape: CacheShape) -> None:
        """Start a video with empty caches; they are allocated again only for another shape."""
        if (rows, shape) != (self._rows, self._shape):
            self.cache = self.model.new_cache(rows, shape)
            self._steady_calls = {}
        self.cache.reset()
        self._rows, self._shape = rows, shape

    def set_prompt(self, embeds: Tensor) -> None:
        """Set the prompt, ``(1, L, text_dim)``."""
        self._text = self._text_memory("text", self.model.prompt_kv(embeds))

    def copy_row(self, source: int, rows: int) -> None:
        """Copy the cache of row `source` to the first `rows`, the rows in use from now on.

        Until then only the first row is in use.
        """
        self.cache.copy_row(source, rows)

    def submit(self, call: Call, x: Tensor) -> Callable[[], Tensor]:
        """Begin a call; return a function that waits for its result."""
        result = self.run(call, x)
        return lambda: result

    def run(self, call: Call, x: Tensor) -> Tensor:
        """Run `CausalWan` on latents or tokens, and update the caches."""
        with self.timer("layers"):
            if self._make_graphs and self._is_steady(call):
                return self._run_recorded(call, x)
            cache = self.cache.select_rows(call.row, call.rows.stop)
            return self._run(call, x, self._text, cache, self.model.layer_range)

    def _is_steady(self, call: Call) -> bool:
        """Return whether `call` differs from those before it in numbers alone, not in its work."""
        assert self._shape is not None, "call reset first"
        is_full = min(call.valid) == self._shape.slots
        return is_full and not (call.order or any(call.shifts) or any(map(any, call.sink_shifts)))

    def _run_recorded(self, call: Call, x: Tensor) -> Tensor:
        """Run a steady call as a graph, once it is recorded; the result is overwritten later."""
        assert self._shape is not None, "call reset first"
        kind = (call.row, x.shape, tuple(map(bool, call.sink_shifts)))
        numbers = (call.timesteps, call.positions, call.slots)
        chunk = self.model.chunk_inputs(*numbers, self._shape.slots, device=CPU)
        steady = self._steady_call(kind, (x, chunk, self._newest_frames(call, CPU)))
        cache = self.cache.select_rows(call.row, call.rows.stop)

        def work() -> None:
            steady.flow.copy_(self.model(steady.x, steady.chunk, self._text, cache))
            if any(call.sink_shifts):
                self._refresh_sink_tokens(call, steady.newest)

        steady.graphs(None, call.sink_threshold, work)
        return steady.flow

    def _steady_call(
        self, kind: Hashable, inputs: tuple[Tensor, ChunkInputs, tuple[Tensor, Tensor]]
    ) -> "_SteadyCall":
        """Return the calls of this kind, with `inputs` copied into their memory."""
        assert self._make_graphs
        if kind in self._steady_calls:
            overwrite(self._steady_calls[kind][:3], inputs)
        else:
            device = self.model.device
            x, chunk, newest = tree_map(lambda t: t if t is None else t.to(device), inputs)
            self._steady_calls[kind] = _SteadyCall(
                x.clone(), chunk, newest, torch.empty_like(x), self._make_graphs("layers")
            )
        return self._steady_calls[kind]

    def _run(self, call: Call, x: Tensor, text: Tensor, cache: LayerCache, layers: range) -> Tensor:
        """Run some of the layers, with their part of the prompt and of the rows' caches.

        Args:
            call: the rows.
            x: latents or tokens, as `CausalWan` takes them.
            text: keys and values of the prompt, ``(layers, 2, 1, L, heads, head_dim)``.
            cache: of these layers and rows.
            layers: numbers of the layers.
        """
        assert self._shape is not None, "call reset first"
        for row, shift, valid in zip(call.rows, call.shifts, call.valid, strict=False):
            if shift:
                self.cache.shift_keys(row, slice(self._shape.sink_tokens, valid), shift)
        numbers = (call.timesteps, call.positions, call.slots)
        chunk = self.model.chunk_inputs(*numbers, self._shape.slots, self._mask(call))
        clones = self.cache.clone_sink_tokens(call.row) if call.order else []
        output: Tensor = self.model(x, chunk, text, cache, layers)
        if call.order:
            self._keep_replaced_sink_tokens(call, clones)
        if any(call.sink_shifts):
            self._refresh_sink_tokens(call, self._newest_frames(call, self.model.device))
        return output

    def _newest_frames(self, call: Call, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the slot and the number of each row's first frame, ``(rows,)`` int64 each."""
        numbers = [[slots[0] for slots in call.slots], [frames[0] for frames in call.frames]]
        slots, frames = torch.tensor(numbers).to(device, non_blocking=True)
        return slots, frames

    def _refresh_sink_tokens(self, call: Call, newest: tuple[Tensor, Tensor]) -> None:
        """Let the newest frame of each row replace its stale sink tokens, where it may."""
        for i, (row, shifts) in enumerate(zip(call.rows, call.sink_shifts, strict=True)):
            if shifts:
                slot, frame = newest[0][i : i + 1], newest[1][i]
                self.cache.refresh_sink_tokens(row, slot, frame, shifts, call.sink_threshold)

    def _keep_replaced_sink_tokens(self, call: Call, clones: Sequence[Tensor]) -> None:
        """Keep, in each layer, the frames that it holds as sink tokens through a `recache`.

        Those still in the window as well are taken from there, computed again.
        """
        assert self._shape is not None
        self.cache.restore_sink_tokens(call.row, clones)
        for slot, frame, position in zip(
            call.slots[0], call.frames[0], call.positions[0], strict=True
        ):
            if slot >= self._shape.sink_tokens:
                shifts = self._shape.sink_shifts(position)
                self.cache.copy_to_sink_tokens(call.row, slot, frame, shifts)

    def _mask(self, call: Call) -> Tensor | None:
        """Return the mask that hides empty slots, or later chunks; None where there are none.

        ``(1, 1, f * tokens, slots * tokens)`` or ``(rows, 1, 1, slots * tokens)`` bool.
        """
        assert self._shape is not None
        slots, tokens = self._shape.slots, self.cache.keys.shape[3]
        if call.order:
            chunks = torch.tensor(call.order)
            own = chunks[list(call.slots[0])]
            visible = torch.zeros(len(own), slots, dtype=torch.bool)
            visible[:, : len(chunks)] = own[:, None] >= chunks[None]
            mask = visible.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)[None, None]
        elif min(call.valid) < slots:
            filled = torch.arange(slots) < torch.tensor(call.valid)[:, None]
            mask = filled.repeat_interleave(tokens, 1)[:, None, None]
        else:
            return None
        return mask.to(self.model.device, non_blocking=True)
