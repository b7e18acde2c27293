"""Feedback: values and figures sent to subscribers, each value when it changes."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from streamcam.control.addresses import Row
from streamcam.control.messages import Argument, Message
from streamcam.control.osc.sockets import Peer
from streamcam.control.status_table import STATS
from streamcam.errors import ParameterError
from streamcam.limits import client_to_evict
from streamcam.stats import Status

MAX_SUBSCRIBERS = 32
HOLD = 0.3
"""Seconds for which a client that moves a control is not sent its own value."""
UNPROVEN_S = 10.0
"""Seconds after which a subscriber that has not shown that it receives makes room for another."""
GONE_AFTER = 10.0
"""Seconds of refused packets after which a subscriber is removed."""
REFUSAL_LASTS = 5.0
"""Seconds without a refusal after which a port counts as back."""


@dataclass
class Subscriber:
    """State of one subscriber."""

    peer: Peer
    expires: float
    """Monotonic seconds; infinite until unsubscribed."""
    waiting_since: float | None
    """Time of the subscription, until its host has shown that it receives; then None."""
    sent: dict[str, tuple[Argument, ...]] = field(default_factory=dict)
    """Last arguments sent, by address."""
    refused: tuple[float, float] | None = None
    """Times of the first and the latest refusal."""

    @property
    def host(self) -> str:
        return str(self.peer[0])


class Subscribers:
    """The subscribers, at most `MAX_SUBSCRIBERS`."""

    def __init__(self) -> None:
        self._subscribers: dict[Peer, Subscriber] = {}
        self._held: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._subscribers)

    def add(self, peer: Peer, expires: float, now: float, *, proven: bool) -> None:
        """Subscribe `peer` until `expires`, with nothing sent yet; this also renews.

        Where there are too many, one that has not shown that it receives makes room, or one of
        a host that has more than its share.

        Args:
            peer: the port to send to.
            expires: monotonic seconds.
            now: monotonic seconds.
            proven: whether its host has shown that it receives what is sent to it.

        Raises:
            ParameterError: there are too many already.
        """
        if peer not in self._subscribers and len(self._subscribers) >= MAX_SUBSCRIBERS:
            patience_s = 0.0 if proven else UNPROVEN_S
            freed = client_to_evict(
                self._subscribers.values(), str(peer[0]), now, patience_s=patience_s
            )
            if freed is None:
                raise ParameterError(f"there are {MAX_SUBSCRIBERS} subscribers already")
            self.remove(freed.peer)
        self._subscribers[peer] = Subscriber(peer, expires, None if proven else now)

    def prove(self, host: str) -> None:
        """Note that `host` has shown that it receives what is sent to it."""
        for peer in self.at(host):
            self._subscribers[peer].waiting_since = None

    def remove(self, peer: Peer) -> None:
        self._subscribers.pop(peer, None)

    def at(self, host: str) -> list[Peer]:
        """Return the subscribers of one host."""
        return [peer for peer in self._subscribers if peer[0] == host]

    def peers(self, now: float) -> list[Peer]:
        """Return all subscribers, having removed those that have expired."""
        self._subscribers = {p: s for p, s in self._subscribers.items() if s.expires > now}
        return list(self._subscribers)

    def moved(self, host: str, address: str, now: float) -> None:
        """Hold back the value at `address` from `host` while its control moves."""
        if self.at(host):
            self._held[host, address] = now + HOLD

    def clamped(self, host: str, address: str) -> None:
        """Send `host` the value at `address` next time, even if that has not changed."""
        self._held.pop((host, address), None)
        for peer in self.at(host):
            self._subscribers[peer].sent.pop(address, None)

    def mark_sent(self, peer: Peer, message: Message) -> None:
        """Note that `message` was sent to `peer` in answer to a query."""
        if peer in self._subscribers:
            self._subscribers[peer].sent[message.address] = message.arguments

    @property
    def holding(self) -> bool:
        """Whether a value is held back until a control has come to rest."""
        return bool(self._held)

    def send_updates(
        self, messages: Iterable[Message], now: float, send: Callable[[Message, Peer], bool]
    ) -> None:
        """Send each of `messages` to the subscribers that it is new to.

        One for which `send` returns False is still new the next time.
        """
        self._held = {held: until for held, until in self._held.items() if until > now}
        messages = list(messages)
        for peer in self.peers(now):
            sent = self._subscribers[peer].sent
            for message in messages:
                address, arguments = message
                is_new = sent.get(address) != arguments and (peer[0], address) not in self._held
                if is_new and send(message, peer):
                    sent[address] = arguments

    def refused(self, peer: Peer, now: float) -> None:
        """Note that nobody listens at `peer`; remove it when that has lasted."""
        subscriber = self._subscribers.get(peer)
        if subscriber is None:
            return
        first, last = subscriber.refused or (now, now)
        if now - last > REFUSAL_LASTS:
            first = now
        subscriber.refused = (first, now)
        if now - first >= GONE_AFTER:
            self.remove(peer)


STATS_PERIOD = 0.5
"""Seconds between two reports of the figures."""


def stat_messages(prefix: str, status: Status) -> Iterator[Message]:
    """Yield `status` as messages, and those that users of StreamDiffusionTD listen to."""
    for stat in STATS:
        value = stat.get(status)
        if value is not None:
            typed = float(value) if stat.types == "number" else value
            yield Message(f"{prefix}/stat/{stat.name}", (typed,))
    yield Message("/server_active", (status.state == "running",))
    yield Message("/stream-info/fps", (float(status.fps_model),))


FEEDBACK = {
    "error": (
        "address, text",
        "What was wrong with a message, sent to its sender and the subscribers of the same host.",
    ),
    "warning": (
        "address, text",
        "What was left out of a message that was applied, sent to the same.",
    ),
    "pong": ("text", "The version, in answer to /ping."),
    "preset/names": ("texts", "The names of the presets."),
}
"""Addresses that are only sent, besides the figures: their types and descriptions."""


def is_feedback(prefix: str, address: str) -> bool:
    """Return whether `address` is only ever sent, never received."""
    name = address.removeprefix(f"{prefix}/")
    return name in FEEDBACK or name.startswith("stat/")


def feedback_rows(prefix: str) -> Iterator[Row]:
    """Yield the rows of the addresses that are only sent."""
    for name, (types, description) in FEEDBACK.items():
        yield Row(f"{prefix}/{name}", "out", types, "", description)
    for stat in STATS:
        yield Row(f"{prefix}/stat/{stat.name}", "out", stat.types, stat.unit, stat.description)
    yield Row("/server_active", "out", "0 or 1", "", "Whether the engine runs.")
    yield Row("/stream-info/fps", "out", "number", "", f"As {prefix}/stat/fps.")
