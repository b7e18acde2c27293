"""The layers that this process has, with a cache of keys and values for each row of the batch."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Self

import torch
from torch import Tensor

from streamcam.video.cache_plan import CacheShape
from streamcam.video.kv_cache import KVCache, LayerCache
from streamcam.video.rotary import Rows
from streamcam.video.wan import CausalWan

Timer = Callable[[str], AbstractContextManager[None]]


class Call(NamedTuple):
    """One pass of the transformer over neighbouring rows, in plain numbers.

    Lists have an entry for each row, lists of lists one for each of its frames.
    """

    row: int
    """The first row."""
    timesteps: Rows
    """Of every frame, or one for the row."""
    positions: Rows
    slots: Rows
    valid: Sequence[int]
    """Slots that hold frames once these are written."""
    order: Sequence[int] = ()
    """Of a single row: numbers of its frames' chunks, where none may see later ones."""
    shifts: Sequence[int] = ()
    """Positions by which the keys beyond the sinks move first."""
    sink_shifts: Rows = ()
    """By how much keys turn that replace a sink; empty where none may."""
    sink_threshold: float = -1.0
    versions: Sequence[int] = ()
    """Of the partition that each row's chunk runs on; empty for that which the row is on."""

    @property
    def rows(self) -> range:
        """The rows that it runs."""
        return range(self.row, self.row + len(self.slots))

    def select_rows(self, first: int, last: int) -> Self:
        """Return the part for the rows from `first` up to `last`, counted from its own first."""
        cut = slice(first, last)
        return self._replace(
            row=self.row + first,
            timesteps=self.timesteps[cut],
            positions=self.positions[cut],
            slots=self.slots[cut],
            valid=self.valid[cut],
            shifts=self.shifts[cut],
            sink_shifts=self.sink_shifts[cut],
            versions=self.versions[cut],
        )


class Layers:
    """All layers of a model in this process.

    `pipeline_depth` is the number of calls from one until its result is due: 1, since it is there at once.
    `version` is that of the partition of layers which new chunks run on; here there is but one.
    `timer` is told what the device is busy with.
    """

    pipeline_depth = 1
    version = 0

    def __init__(self, model: CausalWan) -> None:
        self.model = model
        self.cache: KVCache
        self.timer: Timer = lambda _: nullcontext()
        self._shape: CacheShape | None = None
        self._rows = 0

    def reset(self, rows: int, shape: CacheShape) -> None:
        """Begin a video with empty caches; they are made anew only for another shape."""
        if (rows, shape) != (self._rows, self._shape):
            self.cache = self.model.new_cache(rows, shape.slots)
        self._rows, self._shape = rows, shape

    def set_prompt(self, embeds: Tensor) -> None:
        """Take the prompt in, ``(1, L, text_dim)``."""
        self._text = self.model.prompt(embeds)

    def copy_row(self, source: int, rows: int) -> None:
        """Copy the cache of the row `source` to the first `rows`, the ones used from now on.

        Until then only the first row is.
        """
        self.cache.copy_row(source, rows)

    def submit(self, call: Call, x: Tensor) -> Callable[[], Tensor]:
        """Begin a call; what is returned gives, or waits for, its result."""
        result = self.run(call, x)
        return lambda: result

    def run(self, call: Call, x: Tensor) -> Tensor:
        """Return what `CausalWan` makes of latents or tokens, and update the caches."""
        cache = self.cache.select_rows(call.row, call.rows.stop)
        return self._run(call, x, self._text, cache, self.model.own)

    def _run(self, call: Call, x: Tensor, text: Tensor, cache: LayerCache, layers: range) -> Tensor:
        """Run some of the layers, with their part of the prompt and of the rows' caches."""
        assert self._shape is not None, "begin comes first"
        for row, shift, valid in zip(call.rows, call.shifts, call.valid, strict=False):
            if shift:
                self.cache.shift_keys(row, slice(self._shape.sink_tokens, valid), shift)
        places = (call.timesteps, call.positions, call.slots)
        chunk = self.model.chunk(*places, self._shape.slots, self._mask(call))
        made: Tensor = self.model(x, chunk, text, cache, layers)
        for row, slots, shifts in zip(call.rows, call.slots, call.sink_shifts, strict=False):
            if shifts:
                self.cache.refresh_sink_tokens(row, slots[0], shifts, call.sink_threshold)
        return made

    def _mask(self, call: Call) -> Tensor | None:
        """Return what hides slots not yet written, or later chunks; None where nothing is."""
        assert self._shape is not None
        slots, tokens = self._shape.slots, self.cache.keys.shape[3]
        if call.order:
            chunks = torch.tensor(call.order)
            seen = torch.zeros(len(chunks), slots, dtype=torch.bool)
            seen[:, : len(chunks)] = chunks[:, None] >= chunks[None]
            mask = seen.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)[None, None]
        elif min(call.valid) < slots:
            filled = torch.arange(slots) < torch.tensor(call.valid)[:, None]
            mask = filled.repeat_interleave(tokens, 1)[:, None, None]
        else:
            return None
        return mask.to(self.model.device, non_blocking=True)
