"""The OSC server: a thread with a port that steers the broadcast and tells how it fares."""

import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Self

from streamcam.control.osc.access import Buckets, Gate
from streamcam.control.osc.addresses import Addresses
from streamcam.control.osc.dispatcher import Console
from streamcam.control.osc.feedback import Peer, Subscribers
from streamcam.control.osc.packets import MAX_MESSAGES, Message, PacketError, read, write
from streamcam.control.osc.ports import Ports
from streamcam.control.osc.services import Services
from streamcam.control.osc.telemetry import PERIOD, stats
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Control
from streamcam.settings.config import Config
from streamcam.stats import Status

TICK = 1 / 30
"""Seconds between two rounds of feedback."""
IDLE = 0.2
"""Seconds after which the thread looks up when nothing happens."""
ANSWERS_PER_SECOND = 5
ANSWERS_AT_ONCE = 20
BYTES_PER_MESSAGE = 64
"""What is longer than this counts as several messages, since reading it takes as long."""
FOREIGN_KEPT = 256
"""Addresses of other programs that are remembered: some send all they have, at every frame."""


class OscServer:
    """Listens while it is entered; nothing that arrives stops it or the picture."""

    def __init__(
        self,
        control: Control,
        config: Config,
        status: Callable[[], Status],
        report: Callable[[str], None],
    ) -> None:
        """Prepare to listen at ``config.broadcast.osc_bind:osc_port``.

        Args:
            control: what is steered.
            config: what is fixed at start.
            status: tells how the broadcast fares; called from the server's thread.
            report: takes lines for the log; called from the server's thread.

        Raises:
            ConfigError: an entry of ``osc_alias`` leads nowhere.
        """
        settings = config.broadcast
        self.counts: Counter[str] = Counter()
        """Packets and messages by what became of them."""
        self.port = settings.osc_port
        """The UDP port; once entered, the one that was found free for 0."""
        self._host = settings.osc_bind
        self._control = control
        self._status = status
        self._report = report
        self._gate = Gate(settings.osc_allow)
        self._rates = Buckets(settings.osc_rate, max(settings.osc_rate, MAX_MESSAGES))
        self._answers = Buckets(ANSWERS_PER_SECOND, ANSWERS_AT_ONCE)
        self._subscribers = Subscribers()
        self._presets = PresetBank(config, report)
        self._addresses = Addresses(settings.osc_prefix, settings.osc_alias)
        self._prefix = settings.osc_prefix
        self._console = Console(control, config, self._addresses, self._presets)
        self._services = Services(self._prefix, self._subscribers, self._current, self._send)
        self._stopping = Event()
        self._thread = Thread(target=self._serve, name="osc", daemon=True)
        self._foreign: set[str] = set()
        self._told: object = None
        self._next_tick = self._next_stats = 0.0

    def __enter__(self) -> Self:
        """Open the port and begin to listen; raise DeviceError if it cannot be had."""
        self._ports = Ports(self._host, self.port, self)
        self.port = self._ports.port
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._ports.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                for packet, peer in self._ports.receive(TICK / 2 if self._subscribers else IDLE):
                    self._receive(packet, peer)
                self._tell(time.monotonic())
            except Exception:
                # A bug in here must not cost the operator the desk, in the middle of a show.
                self.counts["failed"] += 1
                self.log(f"OSC goes on after an error:\n{traceback.format_exc()}")
                self._stopping.wait(0.01)

    def allows(self, host: str) -> bool:
        return bool(self._gate.allows(host))

    def refused(self, peer: Peer, *, closed: bool) -> None:
        if closed:
            self._subscribers.remove(peer)
        else:
            self._subscribers.refused(peer, time.monotonic())

    def log(self, line: str) -> None:
        if self._answers.take("log"):
            self._report(line)

    def _receive(self, packet: bytes, peer: Peer) -> None:
        self.counts["packets"] += 1
        host = peer[0]
        if not self._gate.allows(host):
            self.counts["not allowed"] += 1
        elif not self._rates.take(host, _cost(packet)):
            self.counts["over the rate"] += 1
        else:
            self._handle(packet, peer)

    def _handle(self, packet: bytes, peer: Peer) -> None:
        try:
            messages = read(packet)
        except PacketError as error:
            self.counts["malformed"] += 1
            if self._may_answer(peer):
                self._answer(peer, "", str(error))
            return
        if not self._rates.take(peer[0], max(len(messages) - _cost(packet), 0)):
            self.counts["over the rate"] += 1
            return
        self.counts["messages"] += len(messages)
        # What we send ourselves may come back from another desk; answering it would go on forever.
        messages = [m for m in messages if not self._services.is_ours(m.address)]
        asked = [m for m in messages if self._services.serves(m.address)]
        if changes := [m for m in messages if not self._services.serves(m.address)]:
            self._apply(changes, peer)
        for message in asked:
            self._serve_one(message, peer)

    def _apply(self, messages: Sequence[Message], peer: Peer) -> None:
        applied = self._console.apply(messages, peer)
        now = time.monotonic()
        for name in applied.moved:
            self._subscribers.moved(peer[0], name, now)
        for name in applied.clamped:
            self._subscribers.clamped(peer[0], name)
            self._told = None
        self.counts["applied"] += len(applied.moved) + len(applied.clamped)
        self.counts["clamped"] += len(applied.clamped)
        self.counts["refused"] += len(applied.refused)
        self.counts["unknown"] += len(applied.unknown)
        for address, reason in applied.refused:
            if self._may_answer(peer):
                self._answer(peer, address, reason)
        for address in applied.unknown:
            # The hint takes a millisecond, so it is looked for only where it is said.
            if self._is_news(address) and self._may_answer(peer):
                self._answer(peer, address, f"is unknown: {self._addresses.suggest(address)}")

    def _is_news(self, address: str) -> bool:
        """Return whether an unknown address is to be answered: those of other programs once."""
        if address.startswith(f"{self._prefix}/"):
            return True
        if address in self._foreign or len(self._foreign) >= FOREIGN_KEPT:
            return False
        self._foreign.add(address)
        return True

    def _serve_one(self, message: Message, peer: Peer) -> None:
        if self._services.costs(message.address) and not self._answers.take(("sync", peer[0])):
            self.counts["over the rate"] += 1
            return
        problem = self._services(message, peer, time.monotonic())
        if problem:
            self.counts["refused"] += 1
            if self._may_answer(peer):
                self._answer(peer, message.address, problem)

    def _may_answer(self, peer: Peer) -> bool:
        return self._answers.take(peer[0])

    def _answer(self, peer: Peer, address: str, reason: str) -> None:
        """Say what was wrong to the sender and the log."""
        # What strangers send must not move the cursor of our terminal.
        shown = "".join(c if c.isprintable() else "?" for c in f"{address} {reason}"[:300]).strip()
        self._report(f"OSC from {peer[0]}: {shown}")
        answer = Message(f"{self._prefix}/error", (address[:100], reason[:300]))
        for to in {peer, *self._subscribers.at(peer[0])}:
            self._send(answer, to)

    def _current(self) -> list[Message]:
        """Return everything that subscribers are told, as it is now."""
        told = list(self._addresses.told(self._control.target))
        if self._presets.current:
            told.append(Message(f"{self._prefix}/preset/load", (self._presets.current,)))
        return [*told, Message(f"{self._prefix}/preset/names", self._presets.names)]

    def _tell(self, now: float) -> None:
        if now < self._next_tick or not self._subscribers.peers(now):
            return
        self._next_tick = now + TICK
        state = (self._control.target, self._presets.current)
        if state != self._told or self._subscribers.holding:
            self._told = state
            for peer, message in self._subscribers.news(self._current(), now):
                self._send(message, peer)
        if now >= self._next_stats:
            self._next_stats = now + PERIOD
            for message in stats(self._prefix, self._status()):
                for peer in self._subscribers.peers(now):
                    self._send(message, peer)

    def _send(self, message: Message, peer: Peer) -> None:
        self._ports.send(write(message), peer)


def _cost(packet: bytes) -> int:
    """Return how many messages of usual length a packet is worth."""
    return max(1, len(packet) // BYTES_PER_MESSAGE)
