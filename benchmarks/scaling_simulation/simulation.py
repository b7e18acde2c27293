"""A day of streams, event by event, with a seed: the same seed gives the same day."""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, log
from random import Random
from typing import Any

from benchmarks.scaling_simulation.assumptions import Assumptions, Kind, activity
from benchmarks.scaling_simulation.simulated_cluster import Cluster

TICK_S = 5.0
"""Between two looks of the autoscaler, and between two tries for those that wait."""
SAMPLE_S = 300.0


@dataclass(slots=True)
class Session:
    """One performer's stream."""

    model: int
    ends_at: float
    gpu: int | None = None
    off_since: float | None = None
    """When it had its last output from the model, or asked for its first."""
    back_at: float = 0.0
    is_started: bool = False
    """Whether it has had a place."""
    places: int = 0


@dataclass(slots=True)
class Sample:
    """The cluster at one time."""

    hour: float
    wanted: int
    """Streams on air."""
    on_model: int
    """Of them, with outputs from the model."""
    gpus: int
    busy_gpus: float


@dataclass(slots=True)
class Result:
    """Outcome of a day."""

    sessions: int = 0
    refused: int = 0
    stream_hours: float = 0.0
    gpu_hours: float = 0.0
    busy_gpu_hours: float = 0.0
    most_gpus: int = 0
    starts_s: list[float] = field(default_factory=list)
    """From asking to the first output of the model."""
    outages_s: list[float] = field(default_factory=list)
    """On air without the model, after the loss of a node."""
    lost_nodes: int = 0
    cold: int = 0
    placements: int = 0
    samples: list[Sample] = field(default_factory=list)

    @property
    def utilisation(self) -> float:
        """Share of the GPUs' time that models ran."""
        return self.busy_gpu_hours / self.gpu_hours if self.gpu_hours else 0.0

    @property
    def off_s_per_stream_hour(self) -> float:
        """Seconds without the model for each hour of a stream, after its start."""
        return sum(self.outages_s) / self.stream_hours if self.stream_hours else 0.0


class Simulation:
    """One day.

    Args:
        assumptions: of the day and the cluster.
        seed: of everything that is drawn.
    """

    def __init__(self, assumptions: Assumptions, seed: int = 0) -> None:
        self._given = assumptions
        self._random = Random(f"sessions {seed}")
        self._failures = Random(f"failures {seed}")
        """Apart, so that the same sessions come whatever the cluster does."""
        self._kinds, self._weights = _models(assumptions)
        self._end = assumptions.hours * 3600
        self._cluster = Cluster(assumptions, self._kinds, self._most_nodes())
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sessions: dict[int, Session] = {}
        self._waiting: deque[int] = deque()
        self._starting: dict[int, int] = {}
        """Nodes that are being started, by zone."""
        self._births: dict[int, int] = {}
        """Number of the event at which each node came."""
        self._dead_zones: set[int] = set()
        self._idle_since: float | None = None
        self._pool_free_at = 0.0
        self._number = 0
        self._now = 0.0
        self.result = Result()

    def run(self) -> Result:
        """Run the day, and return what came of it."""
        for _ in range(self._nodes_wanted(self._expected(0.0))):
            self._node_up(self._zone_for_next(), first=True)
        self._at(0.0, self._arrive)
        self._at(0.0, self._tick)
        if (hour := self._given.zone_fails_at_h) is not None:
            self._at(hour * 3600, self._zone_down, 0)
        while self._events:
            self._now, _, act, arguments = heapq.heappop(self._events)
            if self._now > self._end:
                break
            act(*arguments)
        return self.result

    # ---- what is expected

    def _expected(self, now: float) -> float:
        """Return the GPUs that the usual mix of streams takes at a time of the day."""
        return self._given.streams * activity(now) * self._mean_load()

    def _mean_load(self) -> float:
        return sum(w * k.gpu_s / k.gain for w, k in zip(self._weights, self._kinds, strict=True))

    def _most_nodes(self) -> int:
        mean = sum(k.share * k.gpu_s for k in self._given.card.kinds)
        busy = self._given.streams * mean * (1 + self._given.spare)
        return 2 * ceil(busy / self._given.gpus_per_node) + 4

    def _nodes_wanted(self, busy_gpus: float) -> int:
        return max(1, ceil(busy_gpus * (1 + self._given.spare) / self._given.gpus_per_node))

    # ---- events

    def _at(self, when: float, act: Callable[..., None], *arguments: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, act, arguments))

    def _arrive(self) -> None:
        """Begin a session, and draw when the next one begins."""
        given = self._given
        rate = given.streams / given.session_mean_s
        # Thinning: as many as at the busiest time are drawn, and some of them are left out.
        self._at(self._now + self._random.expovariate(rate), self._arrive)
        if self._random.random() > activity(self._now):
            return
        length = self._random.lognormvariate(log(given.session_median_s), given.session_sigma)
        model = self._random.choices(range(len(self._kinds)), self._weights)[0]
        name = self._number = self._number + 1
        self._sessions[name] = Session(model, self._now + length, off_since=self._now)
        self.result.sessions += 1
        self._ask(name)
        self._at(self._now + length, self._leave, name)

    def _ask(self, name: int) -> None:
        """Put a stream into the line of the process that places streams."""
        self._pool_free_at = max(self._pool_free_at, self._now) + self._given.placement_s
        self._at(self._pool_free_at, self._place, name)

    def _place(self, name: int) -> None:
        session = self._sessions.get(name)
        if session is None:
            return
        place = self._cluster.place(name, session.model, self._now)
        if place is None:
            self._waiting.append(name)
            return
        session.gpu, session.places = place.gpu, session.places + 1
        self.result.placements += 1
        self.result.cold += not place.is_warm
        session.back_at = self._now + (self._given.warm_s if place.is_warm else self._given.cold_s)
        self._at(session.back_at, self._back, name, session.places)

    def _back(self, name: int, places: int) -> None:
        """Take the first output of the model."""
        session = self._sessions.get(name)
        if session is None or session.gpu is None or session.places != places:
            return
        self._count_off(session)
        session.off_since, session.is_started = None, True

    def _count_off(self, session: Session) -> None:
        if session.off_since is not None:
            seconds = self._now - session.off_since
            (self.result.outages_s if session.is_started else self.result.starts_s).append(seconds)

    def _leave(self, name: int) -> None:
        session = self._sessions.pop(name, None)
        if session is None:
            return
        if session.is_started:
            self._count_off(session)
        if session.gpu is not None:
            self._cluster.release(name, session.model, session.gpu, self._now)

    # ---- nodes

    def _node_up(self, zone: int, *, first: bool = False) -> None:
        if not first:
            self._starting[zone] -= 1
            if zone in self._dead_zones:
                return
        node = self._cluster.add_node(zone)
        birth = self._births[node] = self._number
        life = self._failures.expovariate(1 / (self._given.node_mtbf_days * 86400))
        self._at(self._now + life, self._node_down, node, birth)
        self._try_waiting()

    def _node_down(self, node: int, birth: int) -> None:
        """Lose a node, if it is still there, and no other one has its number."""
        if node not in self._cluster.zones or self._births[node] != birth:
            return
        self.result.lost_nodes += 1
        for name in self._cluster.remove_node(node):
            session = self._sessions[name]
            session.gpu = None
            if session.off_since is None:
                session.off_since = self._now
            self._at(self._now + self._given.notice_s, self._ask, name)

    def _zone_down(self, zone: int) -> None:
        self._dead_zones.add(zone)
        for node in [n for n, z in self._cluster.zones.items() if z == zone]:
            self._node_down(node, self._births[node])
        self._at(self._now + self._given.zone_fails_for_s, self._dead_zones.discard, zone)

    def _zone_for_next(self) -> int:
        """Return the zone with the fewest nodes."""
        here = dict.fromkeys(range(self._given.zones), 0)
        for zone in self._cluster.zones.values():
            here[zone] += 1
        for zone, count in self._starting.items():
            here[zone] += count
        return min((z for z in here if z not in self._dead_zones), key=lambda zone: here[zone])

    # ---- the autoscaler

    def _tick(self) -> None:
        self._at(self._now + TICK_S, self._tick)
        self._try_waiting()
        self._scale()
        self._account()

    def _try_waiting(self) -> None:
        """Give places to those that wait, the first first; send away who waited too long."""
        for _ in range(len(self._waiting)):
            name = self._waiting.popleft()
            session = self._sessions.get(name)
            if session is None or session.off_since is None:
                continue
            if not session.is_started and self._now - session.off_since > self._given.patience_s:
                self.result.refused += 1
                del self._sessions[name]
                continue
            self._place(name)

    def _scale(self) -> None:
        cluster = self._cluster
        waiting = len(self._waiting) * self._mean_load()
        wanted = self._nodes_wanted(float(cluster.load.sum()) + waiting)
        taking = cluster.nodes(is_open=True)
        coming = len(taking) + sum(self._starting.values())
        drained = cluster.nodes(is_open=False)
        for node in drained:
            if coming < wanted:
                cluster.set_open(node, is_open=True)
                coming += 1
            elif cluster.is_empty(node):
                cluster.remove_node(node)
        for _ in range(wanted - coming):
            zone = self._zone_for_next()
            self._starting[zone] = self._starting.get(zone, 0) + 1
            self._at(self._now + self._given.node_start_s, self._node_up, zone)
        self._drain(taking, coming - wanted)

    def _drain(self, taking: list[int], surplus: int) -> None:
        """Drain the emptiest node once there has been one too many for a while."""
        if surplus < 1 or len(taking) < 2:
            self._idle_since = None
            return
        self._idle_since = self._now if self._idle_since is None else self._idle_since
        if self._now - self._idle_since >= self._given.idle_s:
            loads = self._cluster.node_load(taking)
            for node in sorted(loads, key=lambda n: loads[n])[: min(surplus, len(taking) - 1)]:
                self._cluster.set_open(node, is_open=False)
            self._idle_since = None

    def _account(self) -> None:
        result, hours = self.result, TICK_S / 3600
        busy = float(self._cluster.load.sum())
        result.stream_hours += len(self._sessions) * hours
        result.gpu_hours += self._cluster.gpus * hours
        result.busy_gpu_hours += busy * hours
        result.most_gpus = max(result.most_gpus, self._cluster.gpus)
        if self._now % SAMPLE_S < TICK_S:
            wanted = len(self._sessions)
            on_model = sum(session.off_since is None for session in self._sessions.values())
            hour = self._now / 3600
            result.samples.append(Sample(hour, wanted, on_model, self._cluster.gpus, busy))


def _models(assumptions: Assumptions) -> tuple[list[Kind], list[float]]:
    """Return the kind of each model, and how many streams ask for it: of a kind, by Zipf's law."""
    kinds, weights = [], []
    for kind in assumptions.card.kinds:
        ranks = [1 / (n + 1) for n in range(kind.models)]
        for rank in ranks:
            kinds.append(kind)
            weights.append(kind.share * rank / sum(ranks))
    return kinds, weights
