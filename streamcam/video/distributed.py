"""A ring of devices, each with some of the layers: the first one leads, the others follow.

A call goes from rank to rank and its flow comes back to the first, which alone denoises; while it
is under way the next calls follow behind it (StreamDiffusionV2, section 4). A hop is one message of
fixed size, received into memory that was offered beforehand. Plans travel with it, so no rank looks
anything up. A rank that dies breaks the ring, and with it the whole engine, which is started anew.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from streamcam.errors import EngineError, in_one_line
from streamcam.video.cache_plan import CacheShape
from streamcam.video.layers import Call, Layers
from streamcam.video.wan import CausalWan

NOTE_BYTES = 16 * 1024
"""Of a message, for what is said of the tensor in it: JSON, padded with spaces."""
DEPTH = 4
"""Messages that may wait between two ranks."""

Note = dict[str, Any]


class Link:
    """Both ends that a rank has of the ring: what comes from the one before, and to the next.

    Args:
        device: where the messages lie.
        payload: bytes of the largest tensor that travels.
    """

    def __init__(self, device: torch.device, payload: int) -> None:
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        self._before, self._next = (self.rank - 1) % self.ranks, (self.rank + 1) % self.ranks
        self._in, self._out = (
            deque(
                torch.empty(NOTE_BYTES + payload, dtype=torch.uint8, device=device)
                for _ in range(DEPTH)
            )
            for _ in range(2)
        )
        self._coming = deque(self._offer(buffer) for buffer in self._in)
        self._going: deque[Any] = deque()

    def _offer(self, buffer: Tensor) -> Any:
        return dist.irecv(buffer, self._before)

    def send(self, note: Note, tensor: Tensor | None = None) -> None:
        """Send a note, and a tensor with it, to the next rank.

        Raises:
            EngineError: that rank is gone.
        """
        if tensor is not None:
            note |= {"shape": list(tensor.shape), "dtype": str(tensor.dtype).split(".")[1]}
        text = json.dumps(note).encode().ljust(NOTE_BYTES)
        assert len(text) == NOTE_BYTES, f"a note of {len(text)} bytes"
        with _breaking():
            if len(self._going) == DEPTH:
                self._going.popleft().wait()
            buffer = self._out[0]
            self._out.rotate(-1)
            buffer[:NOTE_BYTES] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            if tensor is not None:
                flat = tensor.contiguous().view(-1).view(torch.uint8)
                buffer[NOTE_BYTES : NOTE_BYTES + len(flat)] = flat
            self._going.append(dist.isend(buffer, self._next))

    def take(self) -> tuple[Note, Tensor | None]:
        """Wait for the next message, and offer its memory for another.

        Raises:
            EngineError: the rank before is gone.
        """
        with _breaking():
            self._coming.popleft().wait()
            buffer = self._in[0]
            self._in.rotate(-1)
            note: Note = json.loads(bytes(buffer[:NOTE_BYTES].cpu().numpy()))
            tensor = None
            if "shape" in note:
                dtype = getattr(torch, note.pop("dtype"))
                shape = torch.Size(note.pop("shape"))
                size = shape.numel() * dtype.itemsize
                tensor = buffer[NOTE_BYTES : NOTE_BYTES + size].clone().view(dtype).view(shape)
            self._coming.append(self._offer(buffer))
            return note, tensor


@contextmanager
def _breaking() -> Iterator[None]:
    """Say in one line that the ring is broken."""
    try:
        yield
    except RuntimeError as error:
        raise EngineError(f"a device of the pipeline is gone: {in_one_line(error)}") from error


class Ring(Layers):
    """The first layers here, the others on the ranks that follow; `lag` is how many ranks."""

    def __init__(self, model: CausalWan, link: Link) -> None:
        super().__init__(model)
        self.lag = link.ranks
        self._link = link
        self._due: deque[list[Tensor]] = deque()

    def begin(self, rows: int, shape: CacheShape) -> None:
        """Begin a video with empty caches, on all ranks."""
        super().begin(rows, shape)
        fields = [shape.slots, shape.sinks, shape.position_limit, shape.realign]
        self._link.send({"do": "begin", "rows": rows, "cache": fields})

    def tell(self, embeds: Tensor) -> None:
        """Take the prompt in, on all ranks."""
        super().tell(embeds)
        self._link.send({"do": "tell"}, embeds)

    def spread(self, source: int = 0) -> None:
        """Copy the cache of the row `source` to the others, on all ranks."""
        super().spread(source)
        self._link.send({"do": "spread", "source": source})

    def stop(self) -> None:
        """Let the ranks that follow end."""
        self._link.send({"do": "stop"})

    def submit(self, call: Call, x: Tensor) -> Callable[[], Tensor]:
        """Run the first layers and pass the call on; what is returned waits for its flow."""
        self._link.send({"do": "run", "call": call._asdict()}, self.run(call, x))
        flow: list[Tensor] = []
        self._due.append(flow)

        def result() -> Tensor:
            while not flow:
                _, tensor = self._link.take()
                assert tensor is not None
                self._due.popleft().append(tensor)
            return flow[0]

        return result


@torch.inference_mode()
def follow(model: CausalWan, link: Link) -> None:
    """Run this rank's layers for the calls that come by, until the first rank says stop."""
    layers = Layers(model)
    to_first = link.rank == link.ranks - 1
    while True:
        note, tensor = link.take()
        what = note["do"]
        if what == "run":
            assert tensor is not None
            tensor = layers.run(Call(**note["call"]), tensor)
        elif what == "begin":
            layers.begin(note["rows"], CacheShape(*note["cache"]))
        elif what == "tell":
            assert tensor is not None
            layers.tell(tensor)
        elif what == "spread":
            layers.spread(note["source"])
        if what == "run" or not to_first:
            link.send(note, tensor)
        if what == "stop":
            return


def payload_bytes(model: CausalWan, rows: int, frames: int, text_dim: int) -> int:
    """Return the bytes of the largest tensor that goes round.

    Args:
        model: these layers.
        rows: of the batch.
        frames: latent frames in a chunk; the first one has one more.
        text_dim: of the prompt's 512 tokens, which are float32.
    """
    config = model.transformer.config
    dim = config.num_attention_heads * config.attention_head_dim
    most = max(rows * frames, frames + 1)
    tokens: int = most * model.grid[0] * model.grid[1] * dim * model.dtype.itemsize
    return max(tokens, 512 * text_dim * 4)
