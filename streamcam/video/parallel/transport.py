"""Transport between the ranks of a ring: one message of fixed size per hop, received in advance.

Receives are posted before messages are sent, into memory allocated once.
"""

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

HEADER_BYTES = 32 * 1024
"""Of a message, for what describes its tensor: JSON, padded with spaces."""
DEPTH = 4
"""Messages that may wait between two ranks."""
NO_TIMEOUT = timedelta(days=365)
"""A camera may be away for hours; that a rank has died shows in its connection."""

Header = dict[str, Any]


class RingTransport:
    """Receives messages from the previous rank of the ring and sends them to the next.

    Made by all ranks at the same time, after `init_process_group`.

    Args:
        device: where the messages lie.
        payload_bytes: size of the largest tensor that travels.
    """

    def __init__(self, device: torch.device, payload_bytes: int) -> None:
        self.rank, self.ranks = dist.get_rank(), dist.get_world_size()
        self._previous, self._next = (self.rank - 1) % self.ranks, (self.rank + 1) % self.ranks
        # With NCCL, all that one group sends between two ranks waits in one line, in both
        # directions: a posted receive would hold up what is sent the other way.
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
        self._receiving = deque(self._post_receive(buffer) for buffer in self._in_buffers)
        self._sending: deque[Any] = deque()

    def _post_receive(self, buffer: Tensor) -> Any:
        return dist.irecv(buffer, self._previous, group=self._from_previous)

    def send(self, header: Header, payload: Tensor | None = None) -> None:
        """Send a header, with or without a tensor, to the next rank.

        Raises:
            EngineError: that rank is gone.
        """
        if payload is not None:
            dtype = str(payload.dtype).split(".")[1]
            header |= {"shape": list(payload.shape), "dtype": dtype}
        text = json.dumps(header).encode().ljust(HEADER_BYTES)
        assert len(text) == HEADER_BYTES, f"a header of {len(text)} bytes"
        with _ring_errors():
            if len(self._sending) == DEPTH:
                self._sending.popleft().wait(NO_TIMEOUT)
            buffer = self._out_buffers[0]
            self._out_buffers.rotate(-1)
            buffer[:HEADER_BYTES] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
            if payload is not None:
                flat = payload.contiguous().view(-1).view(torch.uint8)
                buffer[HEADER_BYTES : HEADER_BYTES + len(flat)] = flat
            self._sending.append(dist.isend(buffer, self._next, group=self._to_next))

    def receive(self) -> tuple[Header, Tensor | None]:
        """Wait for the next message; return its header and tensor, and reuse its memory.

        Raises:
            EngineError: the previous rank is gone.
        """
        with _ring_errors():
            self._receiving.popleft().wait(NO_TIMEOUT)
            buffer = self._in_buffers[0]
            self._in_buffers.rotate(-1)
            header: Header = json.loads(bytes(buffer[:HEADER_BYTES].cpu().numpy()))
            payload = None
            if "shape" in header:
                dtype = getattr(torch, header.pop("dtype"))
                shape = torch.Size(header.pop("shape"))
                end = HEADER_BYTES + shape.numel() * dtype.itemsize
                payload = buffer[HEADER_BYTES:end].clone().view(dtype).view(shape)
            self._receiving.append(self._post_receive(buffer))
            return header, payload

    def isend(self, tensor: Tensor, target: int) -> Callable[[], None]:
        """Begin to send a tensor outside the ring; return a function that waits for the end."""
        with _ring_errors():
            return _waiter(dist.isend(tensor, target, group=self._migrations), tensor)

    def irecv(self, tensor: Tensor, source: int) -> Callable[[], None]:
        """Begin to receive into `tensor` outside the ring; return a function that waits for it."""
        with _ring_errors():
            return _waiter(dist.irecv(tensor, source, group=self._migrations), tensor)


def _group(ranks: set[int]) -> Any:
    nccl = dist.get_backend() == "nccl"
    # NCCL counts the time that a posted receive lies idle; gloo takes a timeout with every wait.
    return dist.new_group(sorted(ranks), timeout=NO_TIMEOUT if nccl else None)


def _waiter(work: Any, tensor: Tensor) -> Callable[[], None]:
    def wait() -> None:
        with _ring_errors():
            work.wait(NO_TIMEOUT)
        tensor.numel()  # Holds a reference to the tensor until here.

    return wait


@contextmanager
def _ring_errors() -> Iterator[None]:
    """Raise EngineError, in one line, where the ring is broken."""
    try:
        yield
    except RuntimeError as error:
        # Without the place in torch's sources, and the advice to torch's own users.
        why = re.sub(r"^\[\S+:\d+\] ", "", one_line(error)).partition(". ")[0]
        raise EngineError(f"a device of the pipeline is gone: {why}") from error
