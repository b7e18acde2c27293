"""Stream batch of a causal video over denoising steps, chunk by chunk, with a KV cache per step.

Row r of the batch runs step r, on the chunk that entered r calls ago. A chunk leaves its keys and
values, as noisy as it is at that step, in every row it passes (StreamDiffusionV2, section 4). Rows
run only when they hold real data. Cache slots are planned on the CPU; nothing waits for the device.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.video import cache_plan
from streamcam.video.cache_plan import CacheShape, ChunkPlan, Cursor
from streamcam.video.causal_layers import Call, Layers
from streamcam.video.flow_matching import Steps, add_noise, predict_x_0

DrawNoise = Callable[[Tensor, int], Tensor]
"""Draws noise of a tensor's shape, for the step of that number.

Each step has a generator of its own, so that a chunk gets the same noise however many chunks are
in flight.
"""


@dataclass(frozen=True, slots=True)
class PendingChunk:
    """Chunk before one of its steps."""

    x_t: Tensor
    """``(f, C, h, w)`` float32, noised for that step."""
    timestep: float
    plan: ChunkPlan
    version: int
    """Of the partition of layers that it runs on, the same for all its steps."""


class SubmittedCall(NamedTuple):
    """Neighbouring rows that were submitted as one call."""

    row: int
    chunks: list[PendingChunk]
    x_t: Tensor
    flow: Callable[[], Tensor]
    """Waits for the flow ``(rows, f, C, h, w)``."""


class CachedFrame(NamedTuple):
    """Record of one slot of one row: with the latents, enough to compute it again."""

    frame: int
    """Its number, counted from the start of the stream."""
    chunk: int
    """First frame of its chunk, which orders the chunks."""
    timestep: float
    position: int


class Rollout:
    """One video from its first chunk on; a restarted video is a new `Rollout`.

    Args:
        layers: the transformer, on one device or several.
        embeds: the prompt, ``(1, L, text_dim)``.
        shape: frames that the KV cache holds.
        steps: the denoising steps, one row of the batch each.
        draw_noise: for the steps after the first.
        rows: of the caches, as many as steps may ever run as one batch. Default: as `steps` needs.
        batched: whether chunks at different steps run as one call, from the second chunk on.
        sink_threshold: similarity below which the newest frame replaces a sink token; -1 for never.
    """

    def __init__(
        self,
        layers: Layers,
        embeds: Tensor,
        shape: CacheShape,
        steps: Steps,
        draw_noise: DrawNoise,
        *,
        rows: int | None = None,
        batched: bool = True,
        sink_threshold: float = -1.0,
    ) -> None:
        assert not (batched and steps.clean_pass), "chunks in flight are not clean"
        self._layers, self._shape, self._steps, self._draw_noise = layers, shape, steps, draw_noise
        self._sink_threshold = sink_threshold
        self._cursor = Cursor()
        active = len(steps.timesteps) if batched else 1
        rows = rows or active
        layers.reset(rows, shape)
        layers.set_prompt(embeds)
        self._pending: list[PendingChunk | None] = [None] * active
        self._submitted: deque[list[SubmittedCall]] = deque()
        self._inputs = layers.model.new_latents(rows, shape.slots)
        self._cached_frames: list[dict[int, CachedFrame]] = [{} for _ in range(rows)]

    def denoise_sequentially(self, x_t: Tensor, timestep: float) -> Tensor:
        """Denoise a chunk through all its steps, one after the other, in the first row.

        Args:
            x_t: ``(f, C, h, w)`` float32, noised.
            timestep: of its first step; later steps are those of the stream that are below it.

        Returns:
            The denoised chunk, of that shape.
        """
        chunk = self._plan_entry(x_t, timestep)
        steps = enumerate(self._steps.timesteps)
        later = [(step, t) for step, t in steps if step and t < timestep]
        passes = 1 + len(later) + self._steps.clean_pass
        x_0 = self._x_0(self._submit(0, [chunk], last=passes == 1))[0]
        for number, (step, t) in enumerate(later, 2):
            chunk = replace(chunk, x_t=self._renoised(x_0, step), timestep=t)
            x_0 = self._x_0(self._submit(0, [chunk], first=False, last=number == passes))[0]
        if self._steps.clean_pass:
            self._submit(0, [replace(chunk, x_t=x_0, timestep=0)], first=False).flow()
        return x_0

    def copy_row(self, source: int = 0) -> None:
        """Copy the cache of row `source`, as the chunks so far left it, to every row in use."""
        rows = len(self._pending)
        self._layers.copy_row(source, rows)
        self._inputs[:rows] = self._inputs[source].clone()
        self._cached_frames[:rows] = [dict(self._cached_frames[source]) for _ in range(rows)]

    def set_steps(self, steps: Steps, *, batched: bool) -> None:
        """Change the denoising steps, or whether they run as a batch, once nothing is in flight.

        The past stays: every row gets the cache of the last step, the least noisy there is.
        """
        assert not self.in_flight, f"{self.in_flight} chunks are in flight"
        last = len(self._pending) - 1
        self._steps = steps
        self._pending = [None] * (len(steps.timesteps) if batched else 1)
        self.copy_row(last)

    def advance(self, x_t: Tensor | None = None, timestep: float = 0) -> Tensor | None:
        """Add a chunk, run one step of all that are in flight, and return the one that is done.

        Over W devices a step takes W of these calls, since each device runs another call.

        Args:
            x_t: ``(f, C, h, w)`` float32, noised; None to add no chunk.
            timestep: of its first step.
        """
        entering = None if x_t is None else self._plan_entry(x_t, timestep)
        rows: list[PendingChunk | None] = [entering, *self._pending[1:]]
        self._pending = [None] * len(rows)
        self._submitted.append(
            [self._submit(row, chunks) for row, chunks in _contiguous_rows(rows)]
        )
        if len(self._submitted) < self._layers.pipeline_depth:
            return None
        done = None
        for submitted in self._submitted.popleft():
            for i, x_0 in enumerate(self._x_0(submitted)):
                row = submitted.row + i
                if row == len(rows) - 1:
                    done = x_0
                else:
                    t, x_t = self._steps.timesteps[row + 1], self._renoised(x_0, row + 1)
                    self._pending[row + 1] = replace(submitted.chunks[i], x_t=x_t, timestep=t)
        return done

    @property
    def started(self) -> bool:
        """Whether a chunk has entered."""
        return self._cursor.frame > 0

    @property
    def in_flight(self) -> int:
        """Number of chunks that are not done."""
        submitted = sum(len(part.chunks) for call in self._submitted for part in call)
        return submitted + sum(chunk is not None for chunk in self._pending)

    def set_prompt(self, embeds: Tensor) -> None:
        """Set the prompt, ``(1, L, text_dim)``, and leave the cache as it is."""
        self._layers.set_prompt(embeds)

    def recache(self, embeds: Tensor) -> None:
        """Set the prompt, and compute the keys and values in the caches again with it.

        Each row gets its past inputs once more, with later chunks hidden from earlier ones: first
        the frames that began as sink tokens, then the others, which attend to the sink tokens that
        each layer holds by now. A frame that is held nowhere but as a sink token of some layers
        keeps the old prompt there, until the scene replaces it.
        """
        self._layers.set_prompt(embeds)
        for row, cached_frames in enumerate(self._cached_frames[: len(self._pending)]):
            chunks = [cached_frames[slot].chunk for slot in range(len(cached_frames))]
            last = max(chunks[: self._shape.sink_tokens], default=-1)
            for first in (True, False):
                slots = [slot for slot, chunk in enumerate(chunks) if (chunk <= last) is first]
                if slots:
                    self._recompute(row, slots, chunks)

    def _recompute(self, row: int, slots: list[int], chunks: list[int]) -> None:
        """Compute the keys and values in these slots of a row again, from their inputs.

        Args:
            row: of the cache.
            slots: those of whole chunks.
            chunks: the chunk in each slot that holds a frame.
        """
        frames = [self._cached_frames[row][slot] for slot in slots]
        call = Call(
            row,
            timesteps=[[frame.timestep for frame in frames]],
            positions=[[frame.position for frame in frames]],
            slots=[slots],
            valid=[len(chunks)],
            frames=[[frame.frame for frame in frames]],
            order=chunks,
        )
        self._layers.submit(call, self._inputs[row : row + 1, slots])()

    def _plan_entry(self, x_t: Tensor, timestep: float) -> PendingChunk:
        planned, self._cursor = cache_plan.plan_chunk(self._shape, self._cursor, len(x_t))
        return PendingChunk(x_t, timestep, planned, self._layers.version)

    def _renoised(self, x_0: Tensor, step: int) -> Tensor:
        sigma = self._steps.sigma(self._steps.timesteps[step])
        return add_noise(x_0, self._draw_noise(x_0, step), sigma)

    def _submit(
        self, row: int, chunks: list[PendingChunk], *, first: bool = True, last: bool = True
    ) -> SubmittedCall:
        """Submit one step of `chunks`, in rows from `row` on.

        `first` and `last` say whether it is the first and last pass of the chunks through their
        row.
        """
        for r, chunk in enumerate(chunks, row):
            self._record_inputs(r, chunk, first=first)
        plans = [chunk.plan for chunk in chunks]
        refreshing = last and self._sink_threshold > -1
        call = Call(
            row,
            timesteps=[[chunk.timestep] for chunk in chunks],
            positions=[[plan.position + i for i in range(len(plan.slots))] for plan in plans],
            slots=[plan.slots for plan in plans],
            valid=[plan.valid for plan in plans],
            frames=[[plan.frame + i for i in range(len(plan.slots))] for plan in plans],
            shifts=[plan.shift for plan in plans] if first else (),
            sink_shifts=[plan.sink_shifts for plan in plans] if refreshing else (),
            sink_threshold=self._sink_threshold,
            versions=[chunk.version for chunk in chunks],
        )
        x_t = torch.stack([chunk.x_t for chunk in chunks])
        return SubmittedCall(row, chunks, x_t, self._layers.submit(call, x_t))

    def _x_0(self, submitted: SubmittedCall) -> Tensor:
        """Wait for a call, and return its estimates of x_0, ``(rows, f, C, h, w)``."""
        x_t = submitted.x_t
        sigmas = [self._steps.sigma(chunk.timestep) for chunk in submitted.chunks]
        levels = torch.tensor(sigmas).reshape(-1, 1, 1, 1, 1).to(x_t.device, non_blocking=True)
        return predict_x_0(x_t, submitted.flow(), levels)

    def _record_inputs(self, row: int, chunk: PendingChunk, *, first: bool) -> None:
        """Record the inputs of a row for `recache`, and the shift of its keys if there is one."""
        plan, cached_frames = chunk.plan, self._cached_frames[row]
        if first and plan.shift:
            for slot in cached_frames.keys() & set(range(self._shape.sink_tokens, plan.valid)):
                position = cached_frames[slot].position + plan.shift
                cached_frames[slot] = cached_frames[slot]._replace(position=position)
        for i, slot in enumerate(plan.slots):
            self._inputs[row, slot].copy_(chunk.x_t[i])
            cached_frames[slot] = CachedFrame(
                plan.frame + i, plan.frame, chunk.timestep, plan.position + i
            )


def _contiguous_rows(
    rows: Sequence[PendingChunk | None],
) -> Iterator[tuple[int, list[PendingChunk]]]:
    """Yield the first row and the chunks of neighbouring rows with chunks of one length."""
    row = 0
    for length, group in groupby(rows, lambda chunk: 0 if chunk is None else len(chunk.x_t)):
        chunks = list(group)
        if length:
            yield row, [chunk for chunk in chunks if chunk is not None]
        row += len(chunks)
