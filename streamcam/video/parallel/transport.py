"""What joins the ranks of a pipeline: one message a hop, into memory that was offered before."""

import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from streamcam.errors import EngineError, one_line

NOTE_BYTES = 16 * 1024
"""Of a message, for what is said of the tensor in it: JSON, padded with spaces."""
DEPTH = 4
"""Messages that may wait between two ranks."""
FOREVER = timedelta(days=365)
"""A camera may be away for hours; whether a rank is alive is for its connection to tell."""

Note = dict[str, Any]


class Link:
    """Both ends that a rank has of the ring: what comes from the one before, and to the next.

    Made by all ranks at once, after `init_process_group`.

    Args:
        device: where the messages lie.
        payload: bytes of the largest tensor that travels.
    """

    def __init__(self, device: torch.device, payload: int) -> None:
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        self._before, self._next = (self.rank - 1) % self.ranks, (self.rank + 1) % self.ranks
        # With NCCL, all that one group sends between two ranks waits in one line, in both
        # directions: an offer of memory would hold up what is sent the other way.
        hops = [_group({rank, (rank + 1) % self.ranks}) for rank in range(self.ranks)]
        self._from_before, self._to_next = hops[self._before], hops[self.rank]
        self._aside = _group(set(range(self.ranks)))
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
        return dist.irecv(buffer, self._before, group=self._from_before)

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
                self._going.popleft().wait(FOREVER)
            buffer = self._out[0]
            self._out.rotate(-1)
            buffer[:NOTE_BYTES] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            if tensor is not None:
                flat = tensor.contiguous().view(-1).view(torch.uint8)
                buffer[NOTE_BYTES : NOTE_BYTES + len(flat)] = flat
            self._going.append(dist.isend(buffer, self._next, group=self._to_next))

    def take(self) -> tuple[Note, Tensor | None]:
        """Wait for the next message, and offer its memory for another.

        Raises:
            EngineError: the rank before is gone.
        """
        with _breaking():
            self._coming.popleft().wait(FOREVER)
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

    def post(self, tensor: Tensor, target: int) -> Callable[[], None]:
        """Begin to send a tensor aside from the ring; what is returned waits until it is sent."""
        with _breaking():
            return _waiting(dist.isend(tensor, target, group=self._aside), tensor)

    def expect(self, tensor: Tensor, source: int) -> Callable[[], None]:
        """Begin to receive into `tensor` aside from the ring; what is returned waits for it."""
        with _breaking():
            return _waiting(dist.irecv(tensor, source, group=self._aside), tensor)


def _group(ranks: set[int]) -> Any:
    nccl = dist.get_backend() == "nccl"
    # NCCL counts the time that offered memory lies idle; gloo is told with every wait.
    return dist.new_group(sorted(ranks), timeout=FOREVER if nccl else None)


def _waiting(work: Any, tensor: Tensor) -> Callable[[], None]:
    def wait() -> None:
        with _breaking():
            work.wait(FOREVER)
        tensor.numel()  # Kept until here.

    return wait


@contextmanager
def _breaking() -> Iterator[None]:
    """Say in one line that the ring is broken."""
    try:
        yield
    except RuntimeError as error:
        # Without the place in torch's sources, and what it advises its own users to do.
        why = re.sub(r"^\[\S+:\d+\] ", "", one_line(error)).partition(". ")[0]
        raise EngineError(f"a device of the pipeline is gone: {why}") from error
