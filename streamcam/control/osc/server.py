"""OSC server: a thread that applies messages to the parameters and sends feedback."""

import logging
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event
from typing import Self

from streamcam.control.messages import Message
from streamcam.control.osc.admission import Admission, is_own_port
from streamcam.control.osc.amplification import AmplificationLimit
from streamcam.control.osc.feedback import (
    STATS_PERIOD,
    Subscribers,
    is_feedback,
    stat_messages,
)
from streamcam.control.osc.floods import Sender
from streamcam.control.osc.packets import PacketError, Part, Unreadable, read_parts, write_packet
from streamcam.control.osc.ports import Ports
from streamcam.control.osc.queries import Queries
from streamcam.control.osc.replies import Replies
from streamcam.control.osc.sockets import Peer
from streamcam.control.osc.time_tags import TimedBundles
from streamcam.control.surface import ControlSurface
from streamcam.errors import ParameterError, StreamcamError
from streamcam.limits import FairQueue, RateLimiter
from streamcam.stats import Status
from streamcam.system.backoff import Backoff
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

FEEDBACK_PERIOD = 1 / 30
"""Seconds between two rounds of feedback."""
IDLE_TIMEOUT = 0.2
"""Seconds after which the thread checks whether to stop, if no packet arrives."""
ANSWERS_PER_SECOND = 5
ANSWERS_AT_ONCE = 20
MAX_QUEUED = 1024
"""Packets that wait to be handled, of all hosts together."""
HANDLING_S = 0.005
"""Seconds for which packets are handled before the next are taken from the system."""
PAUSES = {"first": 0.01, "longest": 0.25}
"""Seconds before the thread goes on after an error."""


class OscServer:
    """Context manager that listens while it is entered; no packet stops it or the broadcast."""

    def __init__(
        self,
        surface: ControlSurface,
        status: Callable[[], Status],
        report: Callable[[str], None],
    ) -> None:
        """Prepare to listen at the settings' ``osc_bind:osc_port``.

        Args:
            surface: what messages change and queries ask for.
            status: returns the state of the broadcast; called from the server's thread.
            report: takes a line for the log; called from the server's thread.
        """
        settings = surface.config.broadcast
        self.counts: Counter[str] = Counter()
        """Packets and messages by result."""
        self.port = settings.osc_port
        """The UDP port; if set to 0, the free one that was taken on entering."""
        self._host = settings.osc_bind
        self._status = status
        self._report = report
        self._admission = Admission(settings, self.counts, report)
        self._blocked: list[Sender] = []
        self._answers = RateLimiter(ANSWERS_PER_SECOND, ANSWERS_AT_ONCE)
        self._amplification = AmplificationLimit()
        self._queue = FairQueue[tuple[bytes, Peer]](MAX_QUEUED)
        self._timed = TimedBundles(surface, status)
        self._subscribers = Subscribers()
        self._surface = surface
        self._prefix = surface.prefix
        self._replies = Replies(self._prefix, self._subscribers, self.send, report)
        self._queries = Queries(self._prefix, self._subscribers, self)
        self._stopping = Event()
        self._thread = SupervisedThread(
            "osc", self._serve, self._stopping, on_error=self._failed, backoff=Backoff(**PAUSES)
        )
        self._last_state: object = None
        self._stats_sent = 0
        self._next_feedback = self._next_stats = 0.0

    def __enter__(self) -> Self:
        """Open the ports and start the thread; raise DeviceError if UDP is unavailable."""
        self._ports = Ports(self._host, self.port, self)
        self.port = self._ports.port
        log.info("OSC at %s", self._ports.shown)
        try:
            self._thread.start()
        except StreamcamError:
            self._ports.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._ports.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            timeout_s = FEEDBACK_PERIOD / 2 if self._subscribers else IDLE_TIMEOUT
            timeout_s = min(timeout_s, self._timed.wait_s(time.monotonic()))
            for packet, peer in self._ports.receive(0 if self._queue else timeout_s):
                self._enqueue(packet, peer)
            self._block_floods(time.monotonic())
            # For a moment only: what waits in the system's buffer is all in one queue there, and
            # when that is full the next packet is lost, whoever sent it.
            end = time.monotonic() + HANDLING_S
            while self._queue and time.monotonic() < end:
                self._handle(*self._queue.take())
            for messages, peer in self._timed.due(time.monotonic()):
                self._handle_messages(messages, peer, at_once=True)
            self._send_feedback(time.monotonic())

    def _block_floods(self, now: float) -> None:
        blocked = self._admission.blocked(now)
        if blocked != self._blocked:
            self._ports.drop_packets_of(blocked)
            self._blocked = blocked

    def _failed(self, error: BaseException) -> None:
        # A bug in here must not take control from the operator in the middle of a show.
        self.counts["failed"] += 1
        trace = "".join(traceback.format_exception(error))
        self.log(f"OSC goes on after an error:\n{trace}")

    def allows(self, host: str) -> bool:
        return self._admission.allows(host)

    def refused(self, peer: Peer, *, closed: bool) -> None:
        if closed:
            self._subscribers.remove(peer)
        else:
            self._subscribers.refused(peer, time.monotonic())

    def log(self, line: str) -> None:
        if self._answers.take("log"):
            self._report(line)

    def is_own(self, peer: Peer) -> bool:
        return is_own_port(peer, self.port)

    def is_proven(self, peer: Peer) -> bool:
        return self._amplification.is_proven(peer)

    def challenge(self, host: str) -> str:
        return self._amplification.challenge(host)

    def prove(self, host: str, answer: str) -> None:
        if self._amplification.prove(host, answer):
            self._subscribers.prove(host)
            # What it has not been sent so far is sent now.
            self._last_state = None

    def _enqueue(self, packet: bytes, peer: Peer) -> None:
        self.counts["packets"] += 1
        if not self._admission.admits(packet, peer, self.port):
            return
        if not self._queue.put(peer[0], (packet, peer)):
            self.counts["over the rate"] += 1

    def _handle(self, packet: bytes, peer: Peer) -> None:
        self._amplification.received(peer, len(packet))
        if not self.is_proven(peer) and self._subscribers.at(peer[0]):
            # It may be sent more of what it has not been sent so far.
            self._last_state = None
        unreadable: list[Unreadable] = []
        try:
            parts = read_parts(packet, unreadable)
        except PacketError as error:
            self.counts["malformed"] += 1
            self._replies.error(peer, "", str(error))
            return
        count = sum(len(part.messages) for part in parts)
        if not self._admission.admits_messages(count, packet, peer):
            return
        self.counts["messages"] += count
        for part in parts:
            self._handle_part(part, peer)
        self.counts["malformed"] += len(unreadable)
        for message in unreadable:
            self._replies.foreign(peer, message.address, partial(str, message.reason))

    def _handle_part(self, part: Part, peer: Peer) -> None:
        """Handle messages of one time: now, or when it has come."""
        now, later = self._timed.split(part)
        if now:
            self._handle_messages(now, peer)
        if later:
            try:
                self._timed.hold(later, part.time_tag, peer)
            except ParameterError as error:
                self.counts["refused"] += len(later)
                self._replies.error(peer, later[0].address, str(error))

    def _handle_messages(
        self, messages: Sequence[Message], peer: Peer, *, at_once: bool = False
    ) -> None:
        # Our feedback may come back from another streamcam; answering it would never end.
        messages = [m for m in messages if not is_feedback(self._prefix, m.address)]
        queries = [m for m in messages if m.address in self._queries]
        if changes := [m for m in messages if m.address not in self._queries]:
            self._apply(changes, peer, at_once=at_once)
        for query in queries:
            self._answer_query(query, peer)

    def _apply(self, messages: Sequence[Message], peer: Peer, *, at_once: bool) -> None:
        apply = self._surface.apply_at_once if at_once else self._surface.apply
        outcome = apply(messages, peer)
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
            self._replies.error(peer, address, reason)
        for address, text in outcome.warnings:
            self._replies.warning(peer, address, text)
        for address in outcome.unknown:
            # Finding the hint takes a millisecond, so it is looked for only if it is sent.
            self._replies.foreign(peer, address, partial(self._hint, address))

    def _hint(self, address: str) -> str:
        return f"is unknown: {self._surface.addresses.suggest(address)}"

    def _answer_query(self, message: Message, peer: Peer) -> None:
        long = self._queries.has_long_answer(message.address)
        if long and not self._answers.take(("sync", peer[0])):
            self.counts["over the rate"] += 1
            return
        problem = self._queries.answer(message, peer, time.monotonic())
        if problem:
            self.counts["refused"] += 1
            # That an address has no value concerns only whoever has asked for it.
            log_it = message.address != f"{self._prefix}/get"
            self._replies.error(peer, message.address, problem, log_it=log_it)

    def value_of(self, address: str) -> Message | None:
        names = (address, self._prefix + address, f"{self._prefix}/{address}")
        if found := next(filter(None, map(self._surface.value_of, names)), None):
            return found
        figures = stat_messages(self._prefix, self._status())
        return next((message for message in figures if message.address in names), None)

    def current_values(self) -> list[Message]:
        return self._surface.values()

    def _send_feedback(self, now: float) -> None:
        if now < self._next_feedback or not self._subscribers.peers(now):
            return
        self._next_feedback = now + FEEDBACK_PERIOD
        state = self._surface.state()
        if state != self._last_state or self._subscribers.holding:
            self._last_state = state
            self._subscribers.send_updates(self.current_values(), now, self.send)
        if now >= self._next_stats:
            self._next_stats = now + STATS_PERIOD
            messages = deque(stat_messages(self._prefix, self._status()))
            # Whoever may be sent only some of them shall not always get the same ones.
            messages.rotate(self._stats_sent)
            self._stats_sent += 1
            for message in messages:
                for peer in self._subscribers.peers(now):
                    self.send(message, peer)

    def send(self, message: Message, peer: Peer) -> bool:
        packet = write_packet(message)
        allowed = self._amplification.may_send(peer, len(packet))
        if allowed:
            self._ports.send(packet, peer)
        else:
            self.counts["not proven"] += 1
        return allowed
