"""Process that stands in for the engine process, and finds the engine on a Ray cluster.

Frames go straight to the node, by the same link as to a single machine. When that falls silent the
link goes on with another engine that the node has named before: Ray is not asked, since its
answer takes seconds. Only when none of them answers is the pool asked for a new place.
"""

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import closing
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from streamcam.errors import EngineError
from streamcam.runtime.cluster.engine_request import request_text
from streamcam.runtime.cluster.pool_client import ask_pool
from streamcam.runtime.engine_message import EngineMessage, MessageSender
from streamcam.runtime.engine_worker import HEARTBEAT, begin_child_process
from streamcam.runtime.frame_ring import FrameRing
from streamcam.runtime.remote.engine_connection import CONNECT_S, LinkLostError
from streamcam.runtime.remote.link import Link, client_name, end_in_order, run_reporting
from streamcam.runtime.remote.wire import WireError
from streamcam.settings.config import Config
from streamcam.system.backoff import Backoff
from streamcam.system.network import parse_endpoint

SILENT_S = 1.5
"""Seconds without a sign of life, which come every 50 ms, after which another engine is taken."""
STANDBY_S = 1.5
"""Seconds for another engine to answer, which is known to have been well a moment ago."""
MAX_STANDBYS = 8
TOKEN = re.compile(r"[\w-]{8,128}")
NODE = re.compile(r"[0-9a-f]{1,64}")


class Place(NamedTuple):
    """An engine on a node of the cluster."""

    engine: str
    token: str
    node: str


def serve(config: Config, frames: FrameRing, outputs: FrameRing, connection: Connection) -> None:
    """Run until `connection` is closed, as `engine_worker.serve` does, on engines of a cluster."""
    begin_child_process(connection)
    send = MessageSender(connection)
    with closing(frames), closing(outputs):
        run_reporting(ClusterLink(config, frames, outputs, send).run(), send)


def parse_places(engines: Any) -> list[Place]:
    """Return the places that came over the network.

    Raises:
        WireError: they are none.
    """
    if not isinstance(engines, list) or len(engines) > MAX_STANDBYS:
        raise WireError("engines came that are no list")
    places = []
    for item in engines:
        if not isinstance(item, dict):
            raise WireError("an engine came that is none")
        place = Place(*(str(item.get(field, "")) for field in Place._fields))
        parse_endpoint(place.engine, default_port=0)
        if not (TOKEN.fullmatch(place.token) and NODE.fullmatch(place.node)):
            raise WireError("an engine came without a token")
        places.append(place)
    return places


class ClusterLink:
    """Keeps one stream on an engine of a cluster, whichever that is.

    Args:
        config: of the broadcast.
        frames: to the engine.
        outputs: from it.
        send: takes messages to the broadcast process.
    """

    def __init__(
        self,
        config: Config,
        frames: FrameRing,
        outputs: FrameRing,
        send: Callable[[EngineMessage], None],
    ) -> None:
        assert config.broadcast.cluster
        self._cluster: str = config.broadcast.cluster
        self._request = request_text(config)
        self._outputs = outputs
        self._send_message = send
        deadline_s = min(SILENT_S, config.broadcast.engine_deadline)
        self._link = Link(
            config,
            frames,
            outputs,
            self._send,
            deadline_s=deadline_s,
            on_standbys=self._take_standbys,
        )
        self._name = f"{socket.gethostname():.40} {client_name(frames)[:12]}"
        self._standbys: list[Place] = []
        self._lost: dict[str, None] = {}
        self._backoff = Backoff()
        self._has_run = self._is_running = False
        self._stopped = False

    def _send(self, message: EngineMessage) -> None:
        if message.kind == "ready":
            self._has_run = self._is_running = True
            self._lost.clear()
        self._send_message(message)

    def _take_standbys(self, engines: Any) -> None:
        self._standbys = parse_places(engines)

    async def run(self) -> None:
        """Run until it is stopped; raise why it cannot be run at all.

        Raises:
            EngineError: the cluster cannot be reached, or refuses, and no engine has run so far.
        """
        end_in_order(self._stop)
        while not self._stopped:
            # Those on a node that has fallen silent come last: it may have been the process alone.
            self._standbys.sort(key=lambda place: place.node in self._lost)
            connect_s = CONNECT_S
            if self._standbys:
                place, connect_s = self._standbys.pop(0), STANDBY_S
            else:
                place = await self._lease()
            failure = await self._run_at(place, connect_s)
            if self._stopped:
                return
            is_lost = isinstance(failure, LinkLostError)
            if is_lost:
                self._lost[place.node] = None
            if self._is_running:
                self._is_running = False
                text = f"{failure}; going on with another engine"
                self._send(EngineMessage("moved", text, 0 if is_lost else failure.exit_code))
            else:
                self._send(EngineMessage("log", f"{failure}; trying another engine"))

    def _stop(self) -> None:
        self._stopped = True
        self._link.on_end("stopped")

    async def _run_at(self, place: Place, connect_s: float) -> EngineError:
        """Run at `place` until that ends; return why.

        Raises:
            EngineError: it refuses, and no engine has run so far.
        """
        try:
            await self._link.run(place.engine, place.token, self._name, connect_s=connect_s)
        except EngineError as error:
            if not (self._has_run or isinstance(error, LinkLostError)):
                raise
            return error

    async def _lease(self) -> Place:
        """Ask the pool for a place until there is one.

        Raises:
            EngineError: there is none, and no engine has run so far.
        """
        self._send(EngineMessage("log", f"asking the cluster {self._cluster} for an engine"))
        while True:
            self._outputs.counters[HEARTBEAT] += 1  # This process is well.
            arguments = (self._name, self._request, list(self._lost))
            try:
                answer = await asyncio.to_thread(ask_pool, self._cluster, "lease", *arguments)
                if "engine" in answer:
                    return parse_places([answer])[0]
                raise EngineError("; ".join(map(str, answer.values())))
            except EngineError as error:
                if not self._has_run:
                    raise
                pause = self._backoff.next()
                self._send(EngineMessage("log", f"{error}; asking again in {pause:.1f} s"))
                await asyncio.sleep(pause)
