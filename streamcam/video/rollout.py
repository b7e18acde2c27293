"""A causal video, chunk by chunk: the stream batch over denoising steps, a cache for each step.

Row r of the batch runs step r, each row with a chunk one further back. A chunk leaves its keys and
values, as noisy as it is at that step, in every row it passes (StreamDiffusionV2, section 4). Rows
run only when they hold real data. Numbers are planned on the CPU; nothing waits for the device.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from streamcam.video import cache_plan
from streamcam.video.cache_plan import Place, Plan
from streamcam.video.schedule import Flow, noised, predicted_x_0
from streamcam.video.wan import CausalWan, Chunk


class Steps(NamedTuple):
    """The denoising steps of a stream, noisiest first, and the table of their noise levels."""

    timesteps: tuple[int, ...]
    flow: Flow

    def sigma(self, timestep: int) -> float:
        """Return the noise level of a timestep."""
        return self.flow.sigma(timestep)


@dataclass(frozen=True, slots=True)
class InFlight:
    """A chunk before one of its steps."""

    x_t: Tensor
    """``(f, C, h, w)`` float32, noised for that step."""
    timestep: int
    plan: Plan


class Written(NamedTuple):
    """What stands in one slot of one row, beside the latents: enough to feed it once more."""

    chunk: int
    """The chunk's first frame, which tells earlier chunks from later ones."""
    timestep: int
    position: int


class Rollout:
    """One video from its first chunk on; to begin anew, make a new one.

    Args:
        model: the transformer.
        text: keys and values of the prompt; may be assigned at any time.
        shape: how many frames the cache holds, and which.
        steps: the denoising steps, one row of the batch each.
        draw: noise like a tensor.
        batched: whether chunks of different steps run together, from the second chunk on.
        sink_threshold: similarity below which the newest frame replaces a sink; -1 for never.
    """

    def __init__(
        self,
        model: CausalWan,
        text: Tensor,
        shape: cache_plan.CacheShape,
        steps: Steps,
        draw: Callable[[Tensor], Tensor],
        *,
        batched: bool = True,
        sink_threshold: float = -1.0,
    ) -> None:
        self.text = text
        self._model, self._shape, self._steps, self._draw = model, shape, steps, draw
        self._threshold = sink_threshold
        self._place = Place()
        rows = len(steps.timesteps) if batched else 1
        self.cache = model.new_cache(rows, shape.slots)
        self.waiting: list[InFlight | None] = [None] * rows
        self._inputs = model.new_latents(rows, shape.slots)
        self._written: list[dict[int, Written]] = [{} for _ in range(rows)]

    def at_once(self, x_t: Tensor, timestep: int) -> Tensor:
        """Take a chunk through all its steps, one after the other, in the first row.

        Args:
            x_t: ``(f, C, h, w)`` float32, noised.
            timestep: of its first step; the others are the stream's.

        Returns:
            The denoised chunk, of that shape.
        """
        plan = self._planned(len(x_t))
        later = self._steps.timesteps[1:]
        x_0 = self._run(0, [InFlight(x_t, timestep, plan)], last=not later)[0]
        for t in later:
            chunk = InFlight(self._renoised(x_0, t), t, plan)
            x_0 = self._run(0, [chunk], first=False, last=t == later[-1])[0]
        return x_0

    def spread(self) -> None:
        """Give every row the cache of the first one, as the chunks so far left it."""
        self.cache.spread()
        self._inputs[1:] = self._inputs[:1]
        self._written = [dict(self._written[0]) for _ in self._written]

    def advance(self, x_t: Tensor | None = None, timestep: int = 0) -> Tensor | None:
        """Let a chunk in, take all in flight one step further, and return the one that is done.

        Args:
            x_t: ``(f, C, h, w)`` float32, noised; None to let no new one in.
            timestep: of its first step.
        """
        entering = None if x_t is None else InFlight(x_t, timestep, self._planned(len(x_t)))
        rows: list[InFlight | None] = [entering, *self.waiting[1:]]
        self.waiting = [None] * len(rows)
        done = None
        for first, group in _runs(rows):
            for row, x_0 in enumerate(self._run(first, group), first):
                if row == len(rows) - 1:
                    done = x_0
                else:
                    t, plan = self._steps.timesteps[row + 1], group[row - first].plan
                    self.waiting[row + 1] = InFlight(self._renoised(x_0, t), t, plan)
        return done

    @property
    def begun(self) -> bool:
        """Whether there is a chunk to go on from."""
        return self._place.frame > 0

    @property
    def in_flight(self) -> int:
        """Chunks that are not done."""
        return sum(chunk is not None for chunk in self.waiting)

    def recache(self, text: Tensor) -> None:
        """Change the prompt, and compute the keys and values in the caches anew with it.

        Each row is fed what it was fed before, all at once, later chunks hidden from earlier ones.
        """
        self.text = text
        for row, written in enumerate(self._written):
            if written:
                slots = sorted(written)
                chunk = self._model.chunk(
                    [[written[slot].timestep for slot in slots]],
                    [[written[slot].position for slot in slots]],
                    [slots],
                    self._shape.slots,
                    self._past(written, slots),
                )
                x_t = self._inputs[row : row + 1, : len(slots)]
                self._model(x_t, chunk, text, self.cache.only(row, row + 1))

    def _past(self, written: dict[int, Written], slots: Sequence[int]) -> Tensor:
        """Return the mask that shows every frame its own chunk and those before it."""
        chunks = torch.tensor([written[slot].chunk for slot in slots])
        seen = torch.zeros(len(slots), self._shape.slots, dtype=torch.bool)
        seen[:, : len(slots)] = chunks[:, None] >= chunks[None]
        tokens = self.cache.keys.shape[3]
        whole = seen.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
        return whole[None, None].to(self._model.device)

    def _planned(self, frames: int) -> Plan:
        planned, self._place = cache_plan.plan(self._shape, self._place, frames)
        return planned

    def _renoised(self, x_0: Tensor, timestep: int) -> Tensor:
        return noised(x_0, self._draw(x_0), self._steps.sigma(timestep))

    def _run(
        self, row: int, chunks: Sequence[InFlight], *, first: bool = True, last: bool = True
    ) -> Tensor:
        """Run one step of `chunks`, in rows from `row` on; return their estimates of x_0.

        `first` and `last` tell whether it is their first and last pass through their row.
        """
        for r, chunk in enumerate(chunks, row):
            self._note(r, chunk, first=first)
        x_t = torch.stack([chunk.x_t for chunk in chunks])
        cache = self.cache.only(row, row + len(chunks))
        flow = self._model(x_t, self._placed(chunks), self.text, cache)
        if last and self._threshold > -1:
            for r, chunk in enumerate(chunks, row):
                self.cache.refresh(r, chunk.plan, self._threshold)
        sigmas = [self._steps.sigma(chunk.timestep) for chunk in chunks]
        levels = torch.tensor(sigmas).reshape(-1, 1, 1, 1, 1).to(x_t.device, non_blocking=True)
        return predicted_x_0(x_t, flow, levels)

    def _note(self, row: int, chunk: InFlight, *, first: bool) -> None:
        """Keep in mind what a row is about to be fed, and turn its keys if positions go back."""
        plan, written = chunk.plan, self._written[row]
        if first and plan.shift:
            rolling = range(self._shape.sinks, plan.valid)
            self.cache.turn(row, slice(rolling.start, rolling.stop), plan.shift)
            for slot in written.keys() & set(rolling):
                moved = written[slot].position + plan.shift
                written[slot] = written[slot]._replace(position=moved)
        for i, slot in enumerate(plan.slots):
            self._inputs[row, slot].copy_(chunk.x_t[i])
            written[slot] = Written(plan.frame, chunk.timestep, plan.position + i)

    def _placed(self, chunks: Sequence[InFlight]) -> Chunk:
        plans = [chunk.plan for chunk in chunks]
        return self._model.chunk(
            [[chunk.timestep] for chunk in chunks],
            [range(plan.position, plan.position + len(plan.slots)) for plan in plans],
            [plan.slots for plan in plans],
            self._shape.slots,
            self._filled([plan.valid for plan in plans]),
        )

    def _filled(self, valid: Sequence[int]) -> Tensor | None:
        """Return the mask that hides the slots not yet written; None when there are none."""
        slots = self._shape.slots
        if min(valid) == slots:
            return None
        seen = torch.arange(slots) < torch.tensor(valid)[:, None]
        by_token = seen.repeat_interleave(self.cache.keys.shape[3], 1)
        return by_token[:, None, None].to(self._model.device, non_blocking=True)


def _runs(rows: Sequence[InFlight | None]) -> Iterator[tuple[int, list[InFlight]]]:
    """Yield neighbouring rows with chunks of one length, and where they begin."""
    row = 0
    for length, group in groupby(rows, lambda chunk: 0 if chunk is None else len(chunk.x_t)):
        chunks = list(group)
        if length:
            yield row, [chunk for chunk in chunks if chunk is not None]
        row += len(chunks)
