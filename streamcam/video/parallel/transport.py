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

HEADER_BYTES = 16 * 1024
"""Of a message, for what is said of the tensor in it: JSON, padded with spaces."""
DEPTH = 4
"""Messages that may wait between two ranks."""
NO_TIMEOUT = timedelta(days=365)
"""A camera may be away for hours; whether a rank is alive is for its connection to tell."""

Header = dict[str, Any]


class RingTransport:
    """Both ends that a rank has of the ring: what comes from the one before, and to the next.

    Made by all ranks at once, after `init_process_group`.

    Args:
        device: where the messages lie.
        payload_bytes: of the largest tensor that travels.
    """

    def __init__(self, device: torch.device, payload_bytes: int) -> None:
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        self._previous, self._next = (self.rank - 1) % self.ranks, (self.rank + 1) % self.ranks
        # With NCCL, all that one group sends between two ranks waits in one line, in both
        # directions: an offer of memory would hold up what is sent the other way.
        hops = [_group({rank, (rank + 1) % self.ranks}) for rank in range(self.ranks)]
        self._from_previous, self._to_next = hops[self._previous], hops[self.rank]
        self._migrations = _group(set(range(self.ranks)))
        self._in_buffers, self._out_buffers = (
            deque(
                torch.empty(HEADER_BYTES + payload_bytes, dtype=torch.uint8, device=device)
                for _ in range(DEPTH)
            )
            for _ in range(2)
        )
        self._receiving = deque(self._offer(buffer) for buffer in self._in_buffers)
        self._sending: deque[Any] = deque()

    def _offer(self, buffer: Tensor) -> Any:
        return dist.irecv(buffer, self._previous, group=self._from_previous)

    def send(self, header: Header, tensor: Tensor | None = None) -> None:
        """Send a note, and a tensor with it, to the next rank.

        Raises:
            EngineError: that rank is gone.
        """
        if tensor is not None:
            header |= {"shape": list(tensor.shape), "dtype": str(tensor.dtype).split(".")[1]}
        text = json.dumps(header).encode().ljust(HEADER_BYTES)
        assert len(text) == HEADER_BYTES, f"a note of {len(text)} bytes"
        with _ring_errors():
            if len(self._sending) == DEPTH:
                self._sending.popleft().wait(NO_TIMEOUT)
            buffer = self._out_buffers[0]
            self._out_buffers.rotate(-1)
            buffer[:HEADER_BYTES] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            if tensor is not None:
                flat = tensor.contiguous().view(-1).view(torch.uint8)
                buffer[HEADER_BYTES : HEADER_BYTES + len(flat)] = flat
            self._sending.append(dist.isend(buffer, self._next, group=self._to_next))

    def receive(self) -> tuple[Header, Tensor | None]:
        """Wait for the next message, and offer its memory for another.

        Raises:
            EngineError: the rank before is gone.
        """
        with _ring_errors():
            self._receiving.popleft().wait(NO_TIMEOUT)
            buffer = self._in_buffers[0]
            self._in_buffers.rotate(-1)
            header: Header = json.loads(bytes(buffer[:HEADER_BYTES].cpu().numpy()))
            tensor = None
            if "shape" in header:
                dtype = getattr(torch, header.pop("dtype"))
                shape = torch.Size(header.pop("shape"))
                size = shape.numel() * dtype.itemsize
                tensor = buffer[HEADER_BYTES : HEADER_BYTES + size].clone().view(dtype).view(shape)
            self._receiving.append(self._offer(buffer))
            return header, tensor

    def isend(self, tensor: Tensor, target: int) -> Callable[[], None]:
        """Begin to send a tensor aside from the ring; what is returned waits until it is sent."""
        with _ring_errors():
            return _waiter(dist.isend(tensor, target, group=self._migrations), tensor)

    def irecv(self, tensor: Tensor, source: int) -> Callable[[], None]:
        """Begin to receive into `tensor` aside from the ring; what is returned waits for it."""
        with _ring_errors():
            return _waiter(dist.irecv(tensor, source, group=self._migrations), tensor)


def _group(ranks: set[int]) -> Any:
    nccl = dist.get_backend() == "nccl"
    # NCCL counts the time that offered memory lies idle; gloo is told with every wait.
    return dist.new_group(sorted(ranks), timeout=NO_TIMEOUT if nccl else None)


def _waiter(work: Any, tensor: Tensor) -> Callable[[], None]:
    def wait() -> None:
        with _ring_errors():
            work.wait(NO_TIMEOUT)
        tensor.numel()  # Kept until here.

    return wait


@contextmanager
def _ring_errors() -> Iterator[None]:
    """Say in one line that the ring is broken."""
    try:
        yield
    except RuntimeError as error:
        # Without the place in torch's sources, and what it advises its own users to do.
        why = re.sub(r"^\[\S+:\d+\] ", "", one_line(error)).partition(". ")[0]
        raise EngineError(f"a device of the pipeline is gone: {why}") from error
