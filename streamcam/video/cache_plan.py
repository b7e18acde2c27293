"""The rolling KV cache with sink tokens, planned in plain integers (arXiv 2511.07399).

Slots hold the keys and values of one latent frame each. The first `sink_tokens` frames of a stream keep
theirs; the others go round the rest, each over the oldest one. A chunk is planned once, when it
enters the stream, and its `ChunkPlan` goes with it through every layer, every rank and every denoising
step, whose row has a cache of its own. Nothing is looked up on the device.
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
    """Frames held, the chunk's own among them (published as num_kv_cache)."""
    sink_tokens: int = 3
    """Of these, frames that stay (published as num_sink_tokens)."""
    position_limit: int = 50
    """Position at which a chunk no longer begins, but goes back to that of the last slot."""
    realign: bool = False
    """Whether cached keys go back with it. Published streams leave them where they are, so that
    after each return they seem to lie ahead."""

    def __post_init__(self) -> None:
        if not 0 <= self.sink_tokens < self.slots:
            raise ConfigError(
                f"{self.sink_tokens} sinks leave nothing to roll in a KV cache of {self.slots} frames:"
                f" keep 0 to {self.slots - 1}"
            )
        if self.position_limit < self.slots:
            raise ConfigError(
                f"positions must reach at least {self.slots}, the frames of the KV cache,"
                f" got {self.position_limit}"
            )

    @property
    def window(self) -> int:
        """Slots that roll: the longest chunk, and how many chunks of one frame a frame stays."""
        return self.slots - self.sink_tokens

    def slot(self, frame: int) -> int:
        """Return where latent frame `frame`, counted from the start of the stream, is kept."""
        return (
            frame
            if frame < self.sink_tokens
            else self.sink_tokens + (frame - self.sink_tokens) % self.window
        )


class Cursor(NamedTuple):
    """How far a stream has come; a new stream, or a restarted one, begins at ``Place()``."""

    frame: int = 0
    """Latent frames planned so far."""
    position: int = 0
    """Where the next one stands in time, unless the limit is reached."""


class ChunkPlan(NamedTuple):
    """What a chunk of F latent frames does to the cache of each row it passes through.

    In this order: turn the keys of slots ``sinks .. valid - 1`` by `shift` (where it is not 0, on
    the chunk's first pass through the row); write the chunk; attend to slots ``0 .. valid - 1``;
    refresh a sink (after the last pass). Another pass writes the same slots again.
    """

    frame: int
    """The first of its frames, counted from the start of the stream."""
    position: int
    """Temporal index of that frame in the rotary embedding; the others follow."""
    slots: tuple[int, ...]
    """``(F,)`` where its frames are written."""
    valid: int
    """Slots that hold real data once it is written: what it attends to, itself included."""
    evicted: tuple[int, ...]
    """The frames that it overwrites, at most F."""
    shift: int
    """Positions by which cached keys outside the sinks move; 0 but for a realigned return."""
    sink_shifts: tuple[int, ...]
    """Empty, or for each sink the positions by which the chunk's keys turn if they are copied
    there. A copy leaves the chunk in its own slot as well, so the window never loses a frame."""


def plan_chunk(cache: CacheShape, cursor: Cursor, count: int) -> tuple[ChunkPlan, Cursor]:
    """Plan the next chunk, of `count` latent frames, and return the place after it.

    Raises:
        ConfigError: the chunk does not fit beside the sinks.
    """
    frame, end = cursor.frame, cursor.frame + count
    if not 1 <= count <= cache.window + max(0, cache.sink_tokens - frame):
        raise ConfigError(
            f"a chunk of {count} latent frames does not fit a KV cache of {cache.slots} with"
            f" {cache.sink_tokens} sinks: make the chunk shorter or the cache longer"
        )
    position = cursor.position if cursor.position < cache.position_limit else cache.slots - 1
    refreshable = count == 1 and frame >= cache.sink_tokens
    planned = ChunkPlan(
        frame=frame,
        position=position,
        slots=tuple(cache.slot(i) for i in range(frame, end)),
        valid=min(end, cache.slots),
        evicted=tuple(i - cache.window for i in range(max(frame, cache.slots), end)),
        shift=position - cursor.position if cache.realign else 0,
        sink_shifts=_sink_shifts(cache, position) if refreshable else (),
    )
    return planned, Cursor(end, position + count)


def _sink_shifts(cache: CacheShape, position: int) -> tuple[int, ...]:
    """Return 0 for each sink, or what takes `position` back to the sink's own, its index."""
    return tuple(sink - position if cache.realign else 0 for sink in range(cache.sink_tokens))
