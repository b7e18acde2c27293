"""OSC server: a thread that applies messages to the parameters and sends feedback."""

import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Self

from streamcam.control.osc.access import AllowList
from streamcam.control.osc.addresses import Addresses
from streamcam.control.osc.dispatcher import Dispatcher
from streamcam.control.osc.feedback import (
    STATS_PERIOD,
    Subscribers,
    is_feedback,
    stat_messages,
)
from streamcam.control.osc.packets import (
    MAX_MESSAGES,
    Message,
    PacketError,
    Unreadable,
    read_packet,
    write_packet,
)
from streamcam.control.osc.ports import Peer, Ports
from streamcam.control.osc.queries import Queries
from streamcam.control.preset_bank import PresetBank
from streamcam.control.state import Control
from streamcam.limits import RateLimiter
from streamcam.settings.config import Config
from streamcam.stats import Status

FEEDBACK_PERIOD = 1 / 30
"""Seconds between two rounds of feedback."""
IDLE_TIMEOUT = 0.2
"""Seconds after which the thread checks whether to stop, if no packet arrives."""
ANSWERS_PER_SECOND = 5
ANSWERS_AT_ONCE = 20
BYTES_PER_MESSAGE = 64
"""A longer packet counts as several messages, since reading it takes as long."""
MAX_FOREIGN = 256
"""Addresses of other programs that are remembered: some send all they have, at every frame."""


class OscServer:
    """Context manager that listens while it is entered; no packet stops it or the broadcast."""

    def __init__(
        self,
        control: Control,
        config: Config,
        status: Callable[[], Status],
        report: Callable[[str], None],
    ) -> None:
        """Prepare to listen at ``config.broadcast.osc_bind:osc_port``.

        Args:
            control: the live parameters, which messages change.
            config: settings fixed at start.
            status: returns the state of the broadcast; called from the server's thread.
            report: takes a line for the log; called from the server's thread.

        Raises:
            ConfigError: an entry of ``osc_alias`` leads nowhere.
        """
        settings = config.broadcast
        self.counts: Counter[str] = Counter()
        """Packets and messages by result."""
        self.port = settings.osc_port
        """The UDP port; if set to 0, the free one that was taken on entering."""
        self._host = settings.osc_bind
        self._control = control
        self._status = status
        self._report = report
        self._allow_list = AllowList(settings.osc_allow)
        self._rate_limiter = RateLimiter(settings.osc_rate, max(settings.osc_rate, MAX_MESSAGES))
        self._answers = RateLimiter(ANSWERS_PER_SECOND, ANSWERS_AT_ONCE)
        self._subscribers = Subscribers()
        self._presets = PresetBank(config, report)
        self._addresses = Addresses(settings.osc_prefix, settings.osc_alias)
        self._prefix = settings.osc_prefix
        self._dispatcher = Dispatcher(control, config, self._addresses, self._presets)
        self._queries = Queries(self._prefix, self._subscribers, self._current_values, self._send)
        self._stopping = Event()
        self._thread = Thread(target=self._serve, name="osc", daemon=True)
        self._foreign: set[str] = set()
        self._last_state: object = None
        self._next_feedback = self._next_stats = 0.0

    def __enter__(self) -> Self:
        """Open the ports and start the thread; raise DeviceError if UDP is unavailable."""
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
                timeout_s = FEEDBACK_PERIOD / 2 if self._subscribers else IDLE_TIMEOUT
                for packet, peer in self._ports.receive(timeout_s):
                    self._receive(packet, peer)
                self._send_feedback(time.monotonic())
            except Exception:
                # A bug in here must not take control from the operator in the middle of a show.
                self.counts["failed"] += 1
                self.log(f"OSC goes on after an error:\n{traceback.format_exc()}")
                self._stopping.wait(0.01)

    def allows(self, host: str) -> bool:
        return bool(self._allow_list.allows(host))

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
        if not self._allow_list.allows(host):
            self.counts["not allowed"] += 1
        elif not self._rate_limiter.take(host, _cost(packet)):
            self.counts["over the rate"] += 1
        else:
            self._handle(packet, peer)

    def _handle(self, packet: bytes, peer: Peer) -> None:
        unreadable: list[Unreadable] = []
        try:
            messages = read_packet(packet, unreadable)
        except PacketError as error:
            self.counts["malformed"] += 1
            if self._may_answer(peer):
                self._send_error(peer, "", str(error))
            return
        if not self._rate_limiter.take(peer[0], max(len(messages) - _cost(packet), 0)):
            self.counts["over the rate"] += 1
            return
        self.counts["messages"] += len(messages)
        # Our feedback may come back from another streamcam; answering it would never end.
        messages = [m for m in messages if not is_feedback(self._prefix, m.address)]
        queries = [m for m in messages if m.address in self._queries]
        if changes := [m for m in messages if m.address not in self._queries]:
            self._apply(changes, peer)
        for query in queries:
            self._answer_query(query, peer)
        self.counts["malformed"] += len(unreadable)
        for address, reason in unreadable:
            if self._is_worth_an_answer(address) and self._may_answer(peer):
                self._send_error(peer, address, reason)

    def _apply(self, messages: Sequence[Message], peer: Peer) -> None:
        outcome = self._dispatcher.apply(messages, peer)
        now = time.monotonic()
        for name in outcome.applied:
            self._subscribers.moved(peer[0], name, now)
        for name in outcome.clamped:
            self._subscribers.clamped(peer[0], name)
            self._last_state = None
        self.counts["applied"] += len(outcome.applied) + len(outcome.clamped)
        self.counts["clamped"] += len(outcome.clamped)
        self.counts["refused"] += len(outcome.refused)
        self.counts["unknown"] += len(outcome.unknown)
        for address, reason in outcome.refused:
            if self._may_answer(peer):
                self._send_error(peer, address, reason)
        for address in outcome.unknown:
            # Finding the hint takes a millisecond, so it is looked for only if it is sent.
            if self._is_worth_an_answer(address) and self._may_answer(peer):
                self._send_error(peer, address, f"is unknown: {self._addresses.suggest(address)}")

    def _is_worth_an_answer(self, address: str) -> bool:
        """Return whether to answer an unknown address: those of other programs only once."""
        if address.startswith(f"{self._prefix}/"):
            return True
        if address in self._foreign or len(self._foreign) >= MAX_FOREIGN:
            return False
        self._foreign.add(address)
        return True

    def _answer_query(self, message: Message, peer: Peer) -> None:
        long = self._queries.has_long_answer(message.address)
        if long and not self._answers.take(("sync", peer[0])):
            self.counts["over the rate"] += 1
            return
        problem = self._queries.answer(message, peer, time.monotonic())
        if problem:
            self.counts["refused"] += 1
            if self._may_answer(peer):
                self._send_error(peer, message.address, problem)

    def _may_answer(self, peer: Peer) -> bool:
        return self._answers.take(peer[0])

    def _send_error(self, peer: Peer, address: str, reason: str) -> None:
        """Report what was wrong with a message to its sender and to the log."""
        # Bytes from strangers must not move the cursor of our terminal.
        shown = "".join(c if c.isprintable() else "?" for c in f"{address} {reason}"[:300]).strip()
        self._report(f"OSC from {peer[0]}: {shown}")
        error = Message(f"{self._prefix}/error", (address[:100], reason[:300]))
        for receiver in {peer, *self._subscribers.at(peer[0])}:
            self._send(error, receiver)

    def _current_values(self) -> list[Message]:
        """Return the messages with all values that subscribers are sent."""
        messages = list(self._addresses.messages(self._control.target))
        if self._presets.current:
            messages.append(Message(f"{self._prefix}/preset/load", (self._presets.current,)))
        return [*messages, Message(f"{self._prefix}/preset/names", self._presets.names)]

    def _send_feedback(self, now: float) -> None:
        if now < self._next_feedback or not self._subscribers.peers(now):
            return
        self._next_feedback = now + FEEDBACK_PERIOD
        state = (self._control.target, self._presets.current)
        if state != self._last_state or self._subscribers.holding:
            self._last_state = state
            for peer, message in self._subscribers.updates(self._current_values(), now):
                self._send(message, peer)
        if now >= self._next_stats:
            self._next_stats = now + STATS_PERIOD
            for message in stat_messages(self._prefix, self._status()):
                for peer in self._subscribers.peers(now):
                    self._send(message, peer)

    def _send(self, message: Message, peer: Peer) -> None:
        self._ports.send(write_packet(message), peer)


def _cost(packet: bytes) -> int:
    """Return the number of messages of usual length that a packet counts as."""
    return max(1, len(packet) // BYTES_PER_MESSAGE)
