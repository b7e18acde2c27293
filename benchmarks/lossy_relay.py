"""UDP relay that delays and loses packets, as a network does; for where the kernel has no netem."""

import random
import select
import socket
import threading
import time
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import Self

Address = tuple[str, int]
SIZE = 65_536
POLL_S = 0.05
BUFFER_S = 2.0
"""Seconds of packets that wait at most; those that come then are lost."""


@dataclass(slots=True)
class Traffic:
    """Packets of one direction, before any is lost."""

    packets: int = 0
    payload: int = 0
    """Bytes, without the headers of UDP, IP and below."""


class LossyRelay:
    """Passes the packets of any client on to one server, and back.

    Args:
        server: where packets go.
        delay_s: seconds that each takes, one way.
        loss: share of the packets that are lost, either way.
        seed: of the losses.
        rate: bytes that pass in a second, either way; what comes faster waits.
    """

    def __init__(
        self,
        server: Address,
        delay_s: float = 0.0,
        loss: float = 0.0,
        seed: int = 0,
        rate: float = inf,
    ) -> None:
        self.delay_s, self.loss = delay_s, loss
        self.down = False
        """Whether nothing passes."""
        self.passed = 0
        self.to_server, self.to_client = Traffic(), Traffic()
        self._server = server
        self._random = random.Random(seed)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self.port: int = self._front.getsockname()[1]
        self._backs: dict[Address, socket.socket] = {}
        self._rate = rate
        self._free_at: dict[socket.socket, float] = {}
        """When all that waits for a side has passed."""
        self._due: list[tuple[float, int, socket.socket, bytes, Address]] = []
        """Delayed packets: when they are due, and their numbers."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()
        for each in (self._front, *self._backs.values()):
            each.close()

    def _run(self) -> None:
        while not self._done.is_set():
            wait = POLL_S
            if self._due:
                wait = min(max(self._due[0][0] - time.monotonic(), 0.0), POLL_S)
            clients = {back: client for client, back in self._backs.items()}
            ready, _, _ = select.select([self._front, *clients], [], [], wait)
            for source in ready:
                data, sender = source.recvfrom(SIZE)
                if source is self._front:
                    self._take(self._back_of(sender), data, self._server)
                else:
                    self._take(self._front, data, clients[source])
            while self._due and self._due[0][0] <= time.monotonic():
                _, _, out, data, address = heappop(self._due)
                out.sendto(data, address)

    def _back_of(self, client: Address) -> socket.socket:
        if client not in self._backs:
            self._backs[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._backs[client].bind(("127.0.0.1", 0))
        return self._backs[client]

    def _take(self, out: socket.socket, data: bytes, address: Address) -> None:
        traffic = self.to_client if out is self._front else self.to_server
        traffic.packets += 1
        traffic.payload += len(data)
        if self.down or self._random.random() < self.loss:
            return
        now = time.monotonic()
        free_at = max(now, self._free_at.get(out, now)) + len(data) / self._rate
        if free_at - now > BUFFER_S:
            return
        self.passed += 1
        self._free_at[out] = free_at
        heappush(self._due, (free_at + self.delay_s, self.passed, out, data, address))
