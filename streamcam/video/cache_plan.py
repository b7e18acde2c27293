"""Rolling KV cache with sink tokens, planned in plain integers (arXiv 2511.07399).

Slots hold the keys and values of one latent frame each. The first frames of a stream, whose tokens
are the sink tokens, keep their slots; later frames overwrite the oldest of the remaining slots. A
chunk is planned once, when it enters the stream, and its `ChunkPlan` goes with it through every
layer, every rank and every denoising step, whose row has a cache of its own. Nothing is looked up
on the device.
"""

from dataclasses import dataclass
from typing import NamedTuple

from streamcam.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CacheShape:
    """The shape of a rolling KV cache, in latent frames.

    Raises:
        ConfigError: no frame would be left to roll, or positions would end before the cache is
            full.
    """

    slots: int = 6
    """Latent frames held, those of the chunk included (published as num_kv_cache)."""
    sink_tokens: int = 3
    """Of these, first frames of the stream that stay (published as num_sink_tokens)."""
    position_limit: int = 50
    """Temporal position from which a chunk goes back: to that of the last slot as published, or to
    that of the last slots, as many as it has frames, if cached keys go back with it."""
    realign: bool = False
    """Whether cached keys are rotated back with it. Published streams leave them where they are, so
    that after each return they seem to lie ahead."""

    def __post_init__(self) -> None:
        if not 0 <= self.sink_tokens < self.slots:
            raise ConfigError(
                f"{self.sink_tokens} sink tokens leave nothing to roll in a KV cache of"
                f" {self.slots} frames: keep 0 to {self.slots - 1}"
            )
        if self.position_limit < self.slots:
            raise ConfigError(
                f"positions must reach at least {self.slots}, the frames of the KV cache,"
                f" got {self.position_limit}"
            )

    @property
    def window(self) -> int:
        """Slots that roll: the longest chunk, and how many one-frame chunks a frame stays."""
        return self.slots - self.sink_tokens

    def slot(self, frame: int) -> int:
        """Return the slot of latent frame `frame`, counted from the start of the stream."""
        return (
            frame
            if frame < self.sink_tokens
            else self.sink_tokens + (frame - self.sink_tokens) % self.window
        )

    def sink_shifts(self, position: int) -> tuple[int, ...]:
        """Return the shift from `position` to each sink token's, its index; 0 unless realigned."""
        return tuple(sink - position if self.realign else 0 for sink in range(self.sink_tokens))


class Cursor(NamedTuple):
    """Progress of a stream; a new stream, or a restarted one, begins at ``Cursor()``."""

    frame: int = 0
    """Latent frames planned so far."""
    position: int = 0
    """Temporal position of the next one, unless the limit is reached."""


class ChunkPlan(NamedTuple):
    """Plan of a chunk of F latent frames for the cache of each row it passes through.

    In this order: shift the keys of slots ``sink_tokens .. valid - 1`` by `shift` positions (where
    it is not 0, on the chunk's first pass through the row); write the chunk; attend to slots
    ``0 .. valid - 1``; refresh a sink token (after the last pass). Another pass writes the same
    slots again.
    """

    frame: int
    """First of its latent frames, counted from the start of the stream."""
    position: int
    """Temporal index of that frame in the rotary embedding; the others follow."""
    slots: tuple[int, ...]
    """``(F,)`` slots that its frames are written to."""
    valid: int
    """Slots that hold frames once it is written: those it attends to, its own included."""
    evicted: tuple[int, ...]
    """Frames that it overwrites, at most F."""
    shift: int
    """Positions by which cached keys other than sink tokens shift; 0 but for a realigned return."""
    sink_shifts: tuple[int, ...]
    """Empty, or for each sink token the positions by which the chunk's keys shift if they replace
    it. The chunk stays in its own slot as well, so the window never loses a frame."""


def plan_chunk(cache: CacheShape, cursor: Cursor, count: int) -> tuple[ChunkPlan, Cursor]:
    """Plan the next chunk, of `count` latent frames; return the plan and the cursor after it.

    Raises:
        ConfigError: the chunk does not fit in the slots that roll.
    """
    frame, end = cursor.frame, cursor.frame + count
    if not 1 <= count <= cache.window + max(0, cache.sink_tokens - frame):
        raise ConfigError(
            f"a chunk of {count} latent frames does not fit a KV cache of {cache.slots} with"
            f" {cache.sink_tokens} sink tokens: make the chunk shorter or the cache longer"
        )
    position = cursor.position
    if position >= cache.position_limit:
        position = cache.slots - (count if cache.realign else 1)
    refreshable = count == 1 and frame >= cache.sink_tokens
    planned = ChunkPlan(
        frame=frame,
        position=position,
        slots=tuple(cache.slot(i) for i in range(frame, end)),
        valid=min(end, cache.slots),
        evicted=tuple(i - cache.window for i in range(max(frame, cache.slots), end)),
        shift=position - cursor.position if cache.realign else 0,
        sink_shifts=cache.sink_shifts(position) if refreshable else (),
    )
    return planned, Cursor(end, position + count)
