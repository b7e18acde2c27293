"""Ray actor that knows which stream has which engine, and keeps engines ready for those to come.

It holds nothing that cannot be found again: after a restart it finds the places by their names, and
they know their streams.
"""

import logging
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from streamcam.errors import StreamcamError
from streamcam.runtime.cluster.engine_place import EnginePlace
from streamcam.runtime.cluster.engine_request import EngineRequest, parse_request
from streamcam.runtime.cluster.pool_place import Place
from streamcam.system.supervised_thread import SupervisedThread

log = logging.getLogger(__name__)

NAMESPACE = "streamcam"
POOL = "pool"
PLACE = "place-"
"""Begins the names of the actors that serve engines."""
HEAD = "node:__internal_head__"
"""Resource that Ray gives to the head node alone."""
POLL_S = 0.25
SUSPECT_S = 30.0
"""Seconds for which no stream is sent to a node that has fallen silent."""
ROOM_S = 25.0
"""Seconds after which an engine that nothing has begun to run finds no room."""
IDLE_S = 300.0
"""Seconds for which an engine is kept that nobody uses."""
MOST_STANDBYS = 4
MOST_STARTING = 32
"""Engines at a time that have not begun; more are refused."""


def start_pool() -> Any:
    """Return the pool of the cluster that Ray is connected to, started if need be."""
    import ray

    options = {
        "name": POOL,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "max_concurrency": 32,
        "num_cpus": 0,
        "resources": {HEAD: 0.001},
    }
    return ray.remote(EnginePool).options(**options).remote()


class EnginePool:
    """Gives streams their places, and replaces those that are lost.

    All methods return at once; a performer asks again for what is not there so far.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[str, Place] = {}
        self._suspects: dict[str, float] = {}
        """Nodes that have fallen silent, and until when they are left alone."""
        self._refusals: deque[dict[str, Any]] = deque(maxlen=20)
        self._adopt()
        self._stopping = threading.Event()
        SupervisedThread("pool", self._watch, self._stopping).start()

    def _adopt(self) -> None:
        """Find the places that a pool before this one has made."""
        import ray

        for found in ray.util.list_named_actors(all_namespaces=True):
            name = found["name"]
            if found["namespace"] == NAMESPACE and name.startswith(PLACE):
                actor = ray.get_actor(name, NAMESPACE)
                try:
                    text: str = ray.get(actor.request.remote(), timeout=5)
                    self._places[name] = Place(name, actor, text, _gpus(parse_request(text)))
                except (ray.exceptions.RayError, StreamcamError):
                    ray.kill(actor)  # It cannot be of use any more.

    # ---- called by performers

    def lease(self, stream: str, text: str, lost: list[str]) -> dict[str, Any]:
        """Return a place for `stream`.

        Args:
            stream: name of the stream.
            text: the engine that it asks for, of `request_text`.
            lost: nodes that have not answered it.

        Returns:
            ``engine``, ``token`` and ``node`` of the place; or ``wait``, why there is none so far;
            or ``full``, or ``refused``, why there will be none.
        """
        try:
            request = parse_request(text)
        except StreamcamError as error:
            return self._refuse(stream, "refused", str(error))
        with self._lock:
            for node in lost:
                self._suspects[str(node)] = time.monotonic() + SUSPECT_S
            return self._lease(stream, request, text)

    def _lease(self, stream: str, request: EngineRequest, text: str) -> dict[str, Any]:
        place = self._best_place(stream, request.key)
        if place is None:
            if sum(not p.node for p in self._places.values()) >= MOST_STARTING:
                why = f"{MOST_STARTING} engines are starting or wait for room: try again later"
                return self._refuse(stream, "full", why)
            place = self._create(request, text, set(self._suspects))
        place.reserve(stream)
        if place.failure:
            self._remove(place)
            return self._refuse(stream, "refused", place.failure)
        if place.engine:
            return {"engine": place.engine, "token": place.token, "node": place.node}
        if place.age_s < ROOM_S and _has_room(request, in_all=True):
            return {"wait": "the cluster starts an engine"}
        # It stays for a while: a cluster that grows by itself adds a node for it.
        return self._refuse(stream, "full", self._no_room(request))

    def _best_place(self, stream: str, key: str) -> Place | None:
        """Return the place that `stream` has, else the one with the least to do; None if full."""
        places = [p for p in self._places.values() if p.request.key == key and self._is_well(p)]
        if own := next((p for p in places if stream in p.streams), None):
            return own
        load = self._streams_by_node()
        free = [p for p in places if p.free > 0]
        return min(free, key=lambda p: (not p.is_ready, not p.engine, load[p.node]), default=None)

    def _is_well(self, place: Place) -> bool:
        return not place.is_silent and place.node not in self._suspects

    def _streams_by_node(self) -> Counter[str]:
        load = Counter[str]()
        for place in self._places.values():
            load[place.node] += len(place.streams)
        return load

    def _refuse(self, stream: str, kind: str, why: str) -> dict[str, Any]:
        self._refusals.append({"at": time.time(), "stream": stream, "why": why})
        return {kind: why}

    def _no_room(self, request: EngineRequest) -> str:
        import ray

        total, free = ray.cluster_resources(), ray.available_resources()
        used = ", ".join(
            f"{total[name] - free.get(name, 0):g} of {total[name]:g} {name}s"
            for name in ("GPU", "CPU")
            if name in total
        )
        takes = f"{_gpus(request):g} GPUs and {request.cpus:g} CPUs"
        return (
            f"no node has room for an engine that takes {takes} ({used} are in use): end a stream,"
            " add a node, or ask for less with --set engine_gpus=… or engine_cpus=…"
        )

    def status(self) -> dict[str, Any]:
        """Return the places with their streams, the nodes that are silent, and refusals."""
        with self._lock:
            places = [place.report() for place in self._places.values()]
            return {
                "places": sorted(places, key=lambda p: (p["host"], p["node"], p["name"])),
                "silent_nodes": sorted(self._suspects),
                "refusals": list(self._refusals),
            }

    def stop(self) -> int:
        """End all places; return their number. The pool itself is to be ended next."""
        self._stopping.set()
        with self._lock:
            places = list(self._places.values())
            for place in places:
                self._remove(place)
        return len(places)

    # ---- places

    def _create(self, request: EngineRequest, text: str, avoided: set[str]) -> Place:
        """Start an engine, on none of the nodes to be `avoided`."""
        import ray

        self._make_room(request)
        name = PLACE + secrets.token_hex(4)
        options: dict[str, Any] = {
            "name": name,
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "max_restarts": -1,
            "max_concurrency": 4,
            "num_cpus": request.cpus,
            "num_gpus": _gpus(request),
            "scheduling_strategy": "SPREAD",
        }
        if avoided:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(avoided))})"}
        actor = ray.remote(EnginePlace).options(**options).remote(text)
        place = self._places[name] = Place(name, actor, text, _gpus(request))
        log.info("%s: an engine is started", name)
        return place

    def _make_room(self, request: EngineRequest) -> None:
        """End an engine of other settings that nobody uses, where there is no other room."""
        if _has_room(request):
            return
        others = (p for p in self._places.values() if p.request.key != request.key)
        if idle := next((p for p in others if not p.streams), None):
            self._remove(idle)

    def _remove(self, place: Place) -> None:
        import ray

        self._places.pop(place.name, None)
        ray.kill(place.actor)

    # ---- the watching thread

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_S):
            with self._lock:
                now = time.monotonic()
                self._suspects = {n: until for n, until in self._suspects.items() if until > now}
                for place in list(self._places.values()):
                    if not place.poll(self._standbys(place)):
                        self._places.pop(place.name)
                    elif place.has_fallen_silent():
                        self._suspects[place.node] = now + SUSPECT_S
                for key in {p.request.key for p in self._places.values()}:
                    self._balance([p for p in self._places.values() if p.request.key == key])

    def _standbys(self, place: Place) -> list[dict[str, str]]:
        """Return the engines that streams of `place` can go on with at once, the best ones first.

        One on the same node is of use where only the process is lost.
        """
        ready = [
            p
            for p in self._places.values()
            if p is not place
            and p.request.key == place.request.key
            and p.is_ready
            and p.free > 0
            and self._is_well(p)
        ]
        load = self._streams_by_node()
        ready.sort(key=lambda p: (p.node == place.node, load[p.node], p.name))
        chosen = ready[:MOST_STANDBYS]
        return [{"engine": p.engine, "token": p.token, "node": p.node} for p in chosen]

    def _balance(self, places: list[Place]) -> None:
        """Keep room ready elsewhere for all streams of any node, as far as nodes are idle.

        So the loss of a node is made up for at once.
        """
        well = [p for p in places if self._is_well(p)]
        if node := _irreplaceable_node(well):
            example = next(p for p in well if p.node == node)
            # One at a time, as loading slows down those that are on air.
            if all(p.is_ready for p in well) and _has_room(example.request) and _nodes() > 1:
                avoided = {node, *self._suspects}
                self._create(example.request, example.text, avoided).is_spare = True
        for place in well:
            is_unused = place.idle_s > IDLE_S
            has_no_room = place.is_spare and not place.node and place.idle_s > ROOM_S
            rest = [p for p in well if p is not place]
            if has_no_room or (is_unused and _irreplaceable_node(rest) is None):
                self._remove(place)
                return


def _irreplaceable_node(places: list[Place]) -> str | None:
    """Return a node with more streams than there is room for on all others; None if none has."""
    load = Counter[str]()
    for place in places:
        load[place.node] += len(place.streams)
    for node, streams in load.items():
        if node and streams > sum(place.free for place in places if place.node != node):
            return node
    return None


def _nodes() -> int:
    """Return the number of nodes of the cluster."""
    import ray

    return sum(node["Alive"] for node in ray.nodes())


def _gpus(request: EngineRequest) -> float:
    """Return the GPUs that an engine takes: one, if the cluster has any and nothing was said."""
    import ray

    if request.gpus is not None:
        return request.gpus
    return 1.0 if ray.cluster_resources().get("GPU") else 0.0


def _has_room(request: EngineRequest, *, in_all: bool = False) -> bool:
    """Return whether the cluster seems to have room for another engine, or has it `in_all`."""
    import ray

    free: dict[str, float] = ray.cluster_resources() if in_all else ray.available_resources()
    needs: Iterable[tuple[str, float]] = (("GPU", _gpus(request)), ("CPU", request.cpus))
    return all(free.get(name, 0.0) >= amount for name, amount in needs)
