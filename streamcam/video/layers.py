"""The layers that this process has, with a cache of keys and values for each row of the batch."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.video.cache_plan import CacheShape
from streamcam.video.kv_cache import KVCache
from streamcam.video.rotary import Rows
from streamcam.video.wan import CausalWan


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
    sink_turns: Rows = ()
    """By how much keys turn that replace a sink; empty where none may."""
    sink_threshold: float = -1.0


class Layers:
    """All layers of a model in this process.

    `lag` is the number of calls from one until its result is due: 1, since it is there at once.
    """

    lag = 1

    def __init__(self, model: CausalWan) -> None:
        self.model = model
        self.cache: KVCache
        self._shape: CacheShape | None = None
        self._rows = 0

    def begin(self, rows: int, shape: CacheShape) -> None:
        """Begin a video with empty caches; they are made anew only for another shape."""
        if (rows, shape) != (self._rows, self._shape):
            self.cache = self.model.new_cache(rows, shape.slots)
        self._rows, self._shape = rows, shape

    def tell(self, embeds: Tensor) -> None:
        """Take the prompt in, ``(1, L, text_dim)``."""
        self._text = self.model.prompt(embeds)

    def spread(self, source: int = 0) -> None:
        """Copy the cache of the row `source` to the others."""
        self.cache.spread(source)

    def submit(self, call: Call, x: Tensor) -> Callable[[], Tensor]:
        """Begin a call; what is returned gives, or waits for, its result."""
        result = self.run(call, x)
        return lambda: result

    def run(self, call: Call, x: Tensor) -> Tensor:
        """Return what `CausalWan` makes of latents or tokens, and update the caches."""
        assert self._shape is not None, "begin comes first"
        sinks, rows = self._shape.sinks, range(call.row, call.row + len(call.slots))
        for row, shift, valid in zip(rows, call.shifts, call.valid, strict=False):
            if shift:
                self.cache.turn(row, slice(sinks, valid), shift)
        mask = self._mask(call)
        places = (call.timesteps, call.positions, call.slots)
        chunk = self.model.chunk(*places, self._shape.slots, mask)
        made: Tensor = self.model(x, chunk, self._text, self.cache.only(rows.start, rows.stop))
        for row, slots, turns in zip(rows, call.slots, call.sink_turns, strict=False):
            if turns:
                self.cache.refresh(row, slots[0], turns, call.sink_threshold)
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
